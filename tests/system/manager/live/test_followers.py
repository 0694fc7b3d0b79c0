"""The replica that follows RE Manager is killed, stopped for longer than its lease, or one of two workers."""

import asyncio
import os
import signal

import httpx
import pytest
from following import HEADERS, Reader
from servers import KEY, ServerProcess
from watching import all_leave

PLAN = {"name": "count", "args": [["det1"]], "item_type": "plan"}


@pytest.fixture
def start(instrument, tmp_path):
    """Start a process; those of a test are replicas of each other."""
    started, name = [], os.urandom(6).hex()

    def begin(**server):
        settings = "".join(f"{setting} = {value}\n" for setting, value in server.items())
        (tmp_path / "config.toml").write_text(
            f'[server]\n{settings}[replicas]\nredis = "redis://127.0.0.1:{instrument.redis_port}/3"\nname = "{name}"\n'
            f'[auth]\nsingle_user_api_key = "{KEY}"\n'
        )
        process = ServerProcess(
            tmp_path, "serve", "--config", tmp_path / "config.toml", environment=instrument.environment
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.process.send_signal(signal.SIGCONT)
        process.stop()


@pytest.fixture
async def pair(start):
    """The replica that follows, and another one; the queue is empty."""
    processes = [start(), start()]
    for process in processes:
        process.wait_for(process.answers)
    assert post(processes[0], "queue/clear")["success"]
    follower = next(process for process in processes if follows(process))
    processes.remove(follower)
    yield follower, processes[0]
    await all_leave()


def events_check(process):
    return httpx.get(process.url + "/readyz", timeout=10).json()["checks"]["events"]


def follows(process):
    return "this replica" in events_check(process)


def post(process, path, **body):
    return httpx.post(f"{process.url}/api/{path}", json=body, headers=HEADERS, timeout=20).json()


async def add(process):
    """Add a plan, without holding up those who read meanwhile."""
    return (await asyncio.to_thread(post, process, "queue/item/add", item=PLAN))["item"]["item_uid"]


def console_of(reader):
    return "".join(
        event["data"]["text"] for event in reader.events if (event["topic"], event["type"]) == ("console", "output")
    )


async def test_when_the_follower_is_killed_the_other_one_follows_and_nobody_needs_a_snapshot(pair):
    follower, other = pair
    readers = [await Reader("queue,console,status").come(process.port) for process in (other, other, follower)]
    for reader in readers:
        await reader.until_holds([])
    uids = [await add(process) for process in (follower, other)]
    for reader in readers:
        await reader.until_holds(uids)
    follower.process.kill()
    uids += [await add(other) for _ in range(3)]
    await readers[2].leave()
    await readers[2].come(other.port)
    for reader in readers:
        await reader.until_holds(uids)
        assert (reader.rebuilt.snapshots, reader.rebuilt.gaps) == (1, 0)
    assert follows(other)
    # Not even a line of the console is missing that was written while nobody followed.
    for uid in uids:
        await readers[0].until(lambda _, uid=uid: f"item_uid='{uid}'" in console_of(readers[0]))


async def test_a_follower_that_was_stopped_for_longer_than_its_lease_appends_nothing_when_it_wakes(pair):
    follower, other = pair
    reader = await Reader("queue,status").come(other.port)
    await reader.until_holds([])
    follower.process.send_signal(signal.SIGSTOP)
    uids = [await add(other)]
    await reader.until_holds(uids)  # The other one follows.
    uids.append(await add(other))
    follower.process.send_signal(signal.SIGCONT)
    follower.wait_for(lambda: "another replica" in events_check(follower))
    uids += [await add(follower), await add(other)]
    await reader.until_holds(uids)
    added = [event["data"]["item_uid"] for event in reader.events if event["type"] == "item_added"]
    assert added == uids
    assert follows(other)
    late = await Reader().come(follower.port)
    await late.until_holds(uids)


@pytest.mark.slow
async def test_two_workers_of_one_machine_share_the_log(start):
    server = start(workers=2)
    server.wait_for(server.answers)
    assert post(server, "queue/clear")["success"]
    readers = [await Reader().come(server.port) for _ in range(8)]  # Either worker may have got each.
    for reader in readers:
        await reader.until_holds([])
    uids = [await add(server) for _ in range(4)]
    for reader in readers:
        await reader.until_holds(uids)
    told = {tuple(reader.rebuilt.ids[-4:]) for reader in readers}
    assert len(told) == 1
    await all_leave()
