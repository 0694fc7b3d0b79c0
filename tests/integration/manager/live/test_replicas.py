"""Replicas share one event log in Redis: the same events under the same ids, whichever of them one asks."""

import asyncio
import json
import os

import pytest
from conftest import KEY, app_of, until_connected
from watching import Events, all_leave

HEADERS = {"Authorization": f"ApiKey {KEY}"}
PLAN = {"name": "count", "args": [["det1"]], "item_type": "plan"}


@pytest.fixture
def serve_replica(sanic_client, make_config, instrument):
    """Start one more replica; all of a test share a name in the Redis of the RE Manager, in a database of their own."""
    replicas = {"redis": f"redis://127.0.0.1:{instrument.redis_port}/3", "name": os.urandom(6).hex()}

    async def serve(**sections):
        client = await sanic_client(app_of(make_config(replicas=replicas, **sections)))
        client.headers.update(HEADERS)
        await until_connected(client)
        async with asyncio.timeout(20):
            while client.app.ctx.services.live.state.snapshot("queue") is None:
                await asyncio.sleep(0.02)
                await client.app.ctx.services.live.state._fetch()
        return client

    return serve


@pytest.fixture
async def two(serve_replica):
    """Two replicas, with an empty queue and history."""
    one, other = await serve_replica(), await serve_replica()
    for path in ("/api/queue/clear", "/api/history/clear"):
        assert (await one.post(path)).json()["success"]
    yield one, other
    await all_leave()


class Rebuilt:
    """A watcher that rebuilds the queue from its snapshot and the events after it."""

    def __init__(self):
        self.uids = []
        self.running = ""
        self.snapshots = 0
        self.gaps = 0
        self.ids = []

    def see(self, event):
        kind, data = event["type"], event["data"]
        self.gaps += kind == "gap"
        if event["topic"] != "queue":
            return
        if kind == "snapshot":
            self.snapshots += 1
            self.uids = [item["item_uid"] for item in data["items"]]
            self.running = data["running_item"].get("item_uid", "")
            return
        self.ids.append(event["id"])
        uid = data.get("item_uid")
        if kind in ("item_removed", "item_started", "item_moved"):
            self.uids = [one for one in self.uids if one != uid]
        if kind in ("item_added", "item_moved"):
            assert uid not in self.uids
            self.uids.insert(self.uids.index(data["after_uid"]) + 1 if data["after_uid"] else 0, uid)
        self.running = uid if kind == "item_started" else "" if kind == "item_finished" else self.running


class Reader:
    """Reads events of one replica, and can go on at another one."""

    def __init__(self, topics="queue"):
        self.topics = topics
        self.last_id = ""
        self.events = []
        self.rebuilt = Rebuilt()

    async def come(self, client):
        last = {"Last-Event-ID": self.last_id} if self.last_id else {}
        self.stream = await Events.connect(client.port, f"/api/events?topics={self.topics}", {**HEADERS, **last})
        assert self.stream.status == 200
        return self

    async def read(self, timeout_s=15):
        event = json.loads((await self.stream.next(timeout_s))["data"])
        self.last_id = event["id"] or self.last_id
        self.events.append(event)
        self.rebuilt.see(event)
        return event

    async def until(self, is_so, timeout_s=20):
        async with asyncio.timeout(timeout_s):
            while not is_so(self.events[-1] if self.events else {}):
                await self.read(timeout_s)
        return self.events[-1]

    async def until_holds(self, uids, timeout_s=20):
        await self.until(lambda _: self.rebuilt.uids == uids, timeout_s)

    async def leave(self):
        await self.stream.leave()


async def add(client):
    reply = (await client.post("/api/queue/item/add", json={"item": PLAN})).json()
    assert reply["success"]
    return reply["item"]["item_uid"]


def feed(client):
    return client.app.ctx.services.live.feed


async def test_both_replicas_tell_the_same_events_under_the_same_ids(two):
    readers = [await Reader().come(client) for client in two]
    uids = [await add(client) for client in two * 3]
    for reader in readers:
        await reader.until_holds(uids)
    told = [[e for e in reader.events if e["topic"] == "queue" and e["type"] != "snapshot"] for reader in readers]
    added = [[event for event in events if event["type"] == "item_added"] for events in told]
    assert added[0] == added[1]
    assert [event["data"]["item_uid"] for event in added[0]] == uids
    assert sum(feed(client).lease.is_held for client in two) == 1


async def test_who_changes_the_replica_goes_on_where_it_was(two):
    reader = await Reader("queue,status,history").come(two[0])
    await reader.until(lambda event: event.get("topic") == "history")  # The last snapshot.
    uids = []
    for turn in range(6):
        uids.append(await add(two[turn % 2]))
        if turn % 2:
            await reader.until_holds(uids)
        await reader.leave()
        uids.append(await add(two[0]))  # While it watches nothing.
        await reader.come(two[(turn + 1) % 2])
        hello = await reader.read()
        assert hello["data"]["continued"]
    await reader.until_holds(uids)
    assert (reader.rebuilt.snapshots, reader.rebuilt.gaps) == (1, 0)
    assert len(set(reader.rebuilt.ids)) == len(reader.rebuilt.ids)


async def test_another_replica_follows_when_the_follower_stops_and_the_log_goes_on(two, serve_replica):
    follower, other = sorted(two, key=lambda client: not feed(client).lease.is_held)
    reader = await Reader("queue").come(other)
    uids = [await add(other)]
    await reader.until_holds(uids)
    await feed(follower).lease.close()
    uids += [await add(other), await add(follower)]
    await reader.until_holds(uids)
    assert feed(other).lease.is_held
    assert not feed(follower).lease.is_held
    assert (reader.rebuilt.snapshots, reader.rebuilt.gaps) == (1, 0)


async def test_ids_continue_after_all_replicas_were_restarted(serve_replica):
    client = await serve_replica()
    assert (await client.post("/api/queue/clear")).json()["success"]
    reader = await Reader("queue").come(client)
    uids = [await add(client)]
    await reader.until_holds(uids)
    await reader.leave()
    await feed(client).close()
    await client.post("/api/queue/item/remove", json={"uid": uids.pop()})
    uids.append(await add(client))  # While nobody follows.
    again = await serve_replica()
    await reader.come(again)
    await reader.until_holds(uids)
    assert (reader.rebuilt.snapshots, reader.rebuilt.gaps) == (1, 0)
    await all_leave()
