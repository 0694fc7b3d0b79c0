"""Replicas share one event log in Redis: the same events under the same ids, whichever of them one asks."""

import asyncio
import json

from conftest import app_of
from following import HEADERS, Reader
from ports import free_port
from watching import Watcher

from integration.manager.live.conftest import add, feed, follower_first
from sanic_qserver.manager.live.shared import follower


async def test_both_replicas_tell_the_same_events_under_the_same_ids(two):
    readers = [await Reader().come(client.port) for client in two]
    uids = [await add(client) for client in two * 3]
    for reader in readers:
        await reader.until_holds(uids)
    added = [[event for event in reader.events if event["type"] == "item_added"] for reader in readers]
    assert added[0] == added[1]
    assert [event["data"]["item_uid"] for event in added[0]] == uids
    assert sum(feed(client).lease.is_held for client in two) == 1


async def test_who_changes_the_replica_goes_on_where_it_was(two):
    reader = await Reader("queue,status,history").come(two[0].port)
    await reader.until(lambda event: event.get("topic") == "history")  # The last snapshot.
    uids = []
    for turn in range(6):
        uids.append(await add(two[turn % 2]))
        if turn % 2:
            await reader.until_holds(uids)
        await reader.leave()
        uids.append(await add(two[0]))  # While it watches nothing.
        await reader.come(two[(turn + 1) % 2].port)
        hello = await reader.read()
        assert hello["data"]["continued"]
    await reader.until_holds(uids)
    assert (reader.rebuilt.snapshots, reader.rebuilt.gaps) == (1, 0)
    assert len(set(reader.rebuilt.ids)) == len(reader.rebuilt.ids)


async def test_another_replica_follows_when_the_follower_stops_and_the_log_goes_on(two):
    following, other = follower_first(two)
    reader = await Reader().come(other.port)
    uids = [await add(other)]
    await reader.until_holds(uids)
    await feed(following).lease.close()
    uids += [await add(other), await add(following)]
    await reader.until_holds(uids)
    assert feed(other).lease.is_held
    assert not feed(following).lease.is_held
    assert (reader.rebuilt.snapshots, reader.rebuilt.gaps) == (1, 0)


async def test_ids_continue_after_all_replicas_were_restarted(serve_replica):
    client = await serve_replica()
    assert (await client.post("/api/queue/clear")).json()["success"]
    reader = await Reader().come(client.port)
    uids = [await add(client)]
    await reader.until_holds(uids)
    await reader.leave()
    await feed(client).close()
    await client.post("/api/queue/item/remove", json={"uid": uids.pop()})
    uids.append(await add(client))  # While nobody follows.
    again = await serve_replica()
    await reader.come(again.port)
    await reader.until_holds(uids)
    assert (reader.rebuilt.snapshots, reader.rebuilt.gaps) == (1, 0)


async def test_replicas_that_do_not_follow_ask_re_manager_nothing(two, serve_replica):
    clients = [*two, await serve_replica()]
    idle = follower_first(clients)[1:]
    await asyncio.gather(*(client.app.ctx.services.live.status.look() for client in clients))
    before = [client.app.ctx.services.manager.counts["sent"] for client in idle]
    readers = [await Reader("queue,status,history,runs,lock").come(client.port) for client in idle for _ in range(5)]
    sockets = [await Watcher.connect(client.port, "/api/status/ws", HEADERS) for client in idle]
    uids = [await add(follower_first(clients)[0]) for _ in range(5)]
    for reader in readers:
        await reader.until_holds(uids)
    for socket in sockets:
        assert json.loads(await socket.recv())["msg"]["status"]["manager_state"] == "idle"
    assert [client.app.ctx.services.manager.counts["sent"] for client in idle] == before


async def line_with(text, socket):
    while text not in (line := json.loads(await socket.recv())["msg"]):
        pass
    return line


async def test_the_console_is_the_same_on_all_and_on_one_that_starts_later(two, serve_replica):
    sockets = [await Watcher.connect(client.port, "/api/console_output/ws", HEADERS) for client in two]
    uid = await add(two[1])
    lines = [await line_with(uid, socket) for socket in sockets]
    assert lines[0] == lines[1]
    later = await serve_replica()

    async def console(client):
        return [
            (await client.get("/api/console_output", params={"nlines": 50})).json()["text"],
            (await client.get("/api/console_output/uid")).json()["console_output_uid"],
        ]

    async with asyncio.timeout(10):
        while not (await console(two[0]) == await console(two[1]) == await console(later)):
            await asyncio.sleep(0.05)
    assert lines[0] in (await console(later))[0] + "\n"
    assert len({(await console(client))[1] for client in (*two, later)}) == 1


async def test_status_and_info_websockets_of_a_replica_that_does_not_follow(two):
    _, other = follower_first(two)
    for path in ("/api/status/ws", "/api/info/ws"):
        watcher = await Watcher.connect(other.port, path, HEADERS)
        assert set(json.loads(await watcher.recv())) == {"time", "msg"}
        await add(two[0])
        async with asyncio.timeout(10):
            while not json.loads(await watcher.recv())["msg"].get("status", {}).get("items_in_queue"):
                pass


async def test_who_waits_for_an_item_at_a_replica_that_does_not_follow_is_told_when_it_ends(open_environment, two):
    _, other = follower_first(two)
    uid = await add(other)
    waiting = asyncio.ensure_future(
        other.get("/api/status", params={"wait_for": f"item_finished:{uid}", "timeout": 30})
    )
    assert (await two[0].post("/api/queue/start")).json()["success"]
    reply = (await waiting).json()
    assert reply["wait"]["met"], reply
    assert len(reply["wait"]["run_uids"]) == 1
    missing = await other.get("/api/status", params={"wait_for": "item_finished:nowhere"})
    assert missing.status_code == 404


async def test_readyz_and_metrics_say_who_follows(two):
    following, other = follower_first(two)
    assert (await following.get("/readyz")).json()["checks"]["events"] == "ok: this replica follows RE Manager"
    assert (await other.get("/readyz")).json()["checks"]["events"] == "ok: another replica follows RE Manager"
    gauges = [feed(client).gauges() for client in (following, other)]
    assert [one["qserver_events_following"] for one in gauges] == [1, 0]


async def test_a_follower_that_re_manager_does_not_answer_lets_another_one_follow(
    sanic_client, make_config, serve_replica, replicas, monkeypatch
):
    monkeypatch.setattr(follower, "_AWAY_S", 0.5)
    cut_off = {"control_address": f"tcp://127.0.0.1:{free_port()}", "queue_wait_s": 0.1}
    lonely = await sanic_client(app_of(make_config(replicas=replicas, manager=cut_off)))
    async with asyncio.timeout(10):
        while not feed(lonely).lease.gained_count:
            await asyncio.sleep(0.02)
    other = await serve_replica()
    lonely.headers.update(HEADERS)
    assert (await other.post("/api/queue/clear")).json()["success"]
    readers = [await Reader("queue,status").come(client.port) for client in (lonely, other)]
    uid = await add(other)
    for reader in readers:
        await reader.until_holds([uid])
