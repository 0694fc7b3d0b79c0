"""With RE Manager's publishing switched off, its default, and through its restart, all but the console is live."""

import asyncio
import json
import os
import signal

import pytest
from conftest import KEY, app_of, until_connected
from servers import Instrument
from watching import Watcher

from sanic_qserver.config.settings import load

HEADERS = {"Authorization": f"ApiKey {KEY}"}
PLAN = {"name": "count", "args": [["det1"]], "item_type": "plan"}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    """An instrument that publishes nothing."""
    with Instrument(tmp_path_factory.mktemp("quiet"), publish=False) as instrument:
        yield instrument


async def connect(sanic_client, quiet, **sections):
    overrides = {"auth": {"single_user_api_key": KEY}, **sections}
    client = await sanic_client(app_of(load(environment=quiet.environment, overrides=overrides)))
    client.headers.update(HEADERS)
    await until_connected(client)
    return client


@pytest.fixture
async def client(sanic_client, quiet):
    return await connect(sanic_client, quiet)


@pytest.fixture(params=["alone", "of two replicas"])
async def either(request, sanic_client, quiet):
    """A server that is alone, or the replica that does not follow RE Manager."""
    if request.param == "alone":
        return await connect(sanic_client, quiet)
    replicas = {"redis": f"redis://127.0.0.1:{quiet.redis_port}/3", "name": os.urandom(6).hex()}
    clients = [await connect(sanic_client, quiet, replicas=replicas) for _ in range(2)]
    return next(one for one in clients if not one.app.ctx.services.live.feed.lease.is_held)


async def next_event(watcher, kind, timeout_s=20):
    async with asyncio.timeout(timeout_s):
        while True:
            event = json.loads(await watcher.recv(timeout_s))
            if event["type"] == kind:
                return event


@pytest.mark.parametrize("path", ["/api/status/ws", "/api/info/ws"])
async def test_the_status_still_comes_each_second_in_the_same_form(either, path):
    watcher = await Watcher.connect(either.port, path, HEADERS)
    times = []
    for _ in range(4):
        message = json.loads(await watcher.recv(3))
        assert set(message) == {"time", "msg"}
        assert isinstance(message["time"], float)
        assert set(message["msg"]) == {"status"}
        times.append(message["time"])
    assert times == sorted(times)
    assert (await either.get("/readyz")).json()["checks"]["publications"] == "nothing was published yet"


async def test_changes_are_told_and_waited_for(either):
    watcher = await Watcher.connect(either.port, "/api/events?topics=queue,status", HEADERS)
    await next_event(watcher, "snapshot")
    waiting = asyncio.ensure_future(either.get("/api/status?wait_for=items_in_queue=1"))
    reply = (await either.post("/api/queue/item/add", json={"item": PLAN})).json()
    assert (await next_event(watcher, "item_added"))["data"]["item_uid"] == reply["item"]["item_uid"]
    assert (await waiting).json()["wait"]["met"] is True
    await either.post("/api/queue/clear")
    assert (await next_event(watcher, "item_removed"))["data"]["item_uid"] == reply["item"]["item_uid"]


async def test_a_restart_of_re_manager_is_told_and_survived(client, quiet):
    status = await Watcher.connect(client.port, "/api/status/ws", HEADERS)
    watcher = await Watcher.connect(client.port, "/api/events?topics=queue,status", HEADERS)
    await next_event(watcher, "snapshot")
    quiet.manager.stop()
    assert (await next_event(watcher, "unavailable"))["topic"] == "status"
    newcomer = await Watcher.connect(client.port, "/api/events?topics=status", HEADERS)
    await next_event(newcomer, "unavailable")
    await asyncio.to_thread(quiet.start_manager)
    await next_event(newcomer, "available")
    await next_event(watcher, "available")
    await until_connected(client)
    reply = (await client.post("/api/queue/item/add", json={"item": PLAN})).json()
    assert (await next_event(watcher, "item_added"))["data"]["item_uid"] == reply["item"]["item_uid"]
    while not json.loads(await status.recv(5))["msg"]["status"]["items_in_queue"]:
        pass


@pytest.fixture
async def impatient(sanic_client, quiet):
    """A server that soon takes a stopped RE Manager for one that is away."""
    settings = {
        "auth": {"single_user_api_key": KEY},
        "manager": {"short_deadline_s": 0.3, "queue_wait_s": 0.3},
        "live": {"poll_s": 0.1},
    }
    client = await sanic_client(app_of(load(environment=quiet.environment, overrides=settings)))
    client.headers.update(HEADERS)
    await until_connected(client)
    yield client
    quiet.manager.signal(signal.SIGCONT)


TOPICS = "status,queue,history,runs,lock,plans,devices"


def look_for_bases(events):
    """Each topic's first event: the state, or that it is not known; nothing else may come before."""
    first = {}
    for event in events:
        first.setdefault(event["topic"], event["type"])
    for topic, kind in first.items():
        assert topic == "stream" or kind in ("snapshot", "unavailable", "available"), (topic, kind)
    return first


async def read_until(watcher, kind, topic, timeout_s=20):
    events = []
    async with asyncio.timeout(timeout_s):
        while not events or (events[-1]["type"], events[-1]["topic"]) != (kind, topic):
            events.append(json.loads(await watcher.recv(timeout_s)))
    return events


async def test_who_comes_while_re_manager_is_away_gets_the_state_later_and_before_any_change(impatient, quiet):
    port = impatient.port
    before = await Watcher.connect(port, f"/api/events?topics={TOPICS}", HEADERS)
    await read_until(before, "snapshot", "devices")
    quiet.manager.signal(signal.SIGSTOP)
    await read_until(before, "unavailable", "status")
    during = [await Watcher.connect(port, f"/api/events?topics={TOPICS}", HEADERS) for _ in range(3)]
    begun = [await read_until(watcher, "unavailable", "status") for watcher in during]
    for events in begun:
        assert events[0]["type"] == "hello"
        assert events[0]["data"]["pending"] == ["devices", "history", "lock", "plans", "queue", "runs"]
    # One who leaves without the state, and comes back with the id it has, is no better off.
    await during[2].leave()
    again = await Watcher.connect(port, f"/api/events?topics={TOPICS}&since={begun[2][0]['id']}", HEADERS)
    during[2], begun[2] = again, await read_until(again, "gap", "stream")
    assert begun[2][0]["data"]["continued"] is False
    quiet.manager.signal(signal.SIGCONT)
    await read_until(before, "available", "status")
    assert (await impatient.post("/api/queue/item/add", json={"item": PLAN})).json()["success"]
    for watcher, events in zip(during, begun, strict=True):
        later = await read_until(watcher, "item_added", "queue")
        assert look_for_bases([*events, *later])["queue"] == "snapshot"
    await impatient.post("/api/queue/clear")
    changes = await read_until(before, "item_removed", "queue")
    assert "snapshot" not in {event["type"] for event in changes}


async def test_an_id_from_a_time_without_the_state_does_not_continue_it_afterwards(impatient, quiet):
    port = impatient.port
    before = await Watcher.connect(port, "/api/events?topics=queue,status", HEADERS)
    await read_until(before, "snapshot", "queue")
    quiet.manager.signal(signal.SIGSTOP)
    await read_until(before, "unavailable", "status")
    without = await Watcher.connect(port, "/api/events?topics=queue,status", HEADERS)
    last_id = (await read_until(without, "hello", "stream"))[-1]["id"]
    await without.leave()
    quiet.manager.signal(signal.SIGCONT)
    last_id = (await read_until(before, "available", "status"))[-1]["id"] or last_id
    await impatient.get("/api/status?wait_for=idle&timeout=10")
    after = await Watcher.connect(port, f"/api/events?topics=queue,status&since={last_id}", HEADERS)
    assert look_for_bases(await read_until(after, "snapshot", "queue"))["queue"] == "snapshot"


async def test_many_who_come_back_do_not_wait_for_a_hung_re_manager_one_after_the_other(impatient, quiet):
    await Watcher.connect(impatient.port, "/api/events?topics=queue", HEADERS)
    quiet.manager.signal(signal.SIGSTOP)
    sent = impatient.app.ctx.services.manager.counts["sent"]
    come = (Watcher.connect(impatient.port, "/api/events?topics=queue,lock,runs", HEADERS) for _ in range(20))
    watchers = await asyncio.gather(*come)
    await asyncio.gather(*(read_until(watcher, "hello", "stream") for watcher in watchers))
    assert impatient.app.ctx.services.manager.counts["sent"] - sent < 20
