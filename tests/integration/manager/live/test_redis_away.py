"""Replicas while their Redis is away, and after it is back with what it had, with less, and with nothing."""

import asyncio
import json
import signal

import pytest
from following import HEADERS, Reader
from watching import Events, Watcher

from integration.manager.live.conftest import add, clear, feed, follower_first


@pytest.fixture
async def pair(serve_replica, redis):
    """Two replicas with a Redis of their own, and a watcher at each; queue and history are empty."""
    clients = [await serve_replica(redis.url), await serve_replica(redis.url)]
    await clear(clients[0])
    readers = [await Reader().come(client.port) for client in clients]
    for reader in readers:
        await reader.until_holds([])
    return clients, readers


async def test_streams_stay_open_are_told_and_miss_nothing(pair, redis):
    clients, readers = pair
    uids = [await add(clients[0])]
    for reader in readers:
        await reader.until_holds(uids)
    redis.stop()
    for reader in readers:
        await reader.until_type("interrupted")
    refused = await Events.connect(clients[0].port, "/api/events?topics=queue", HEADERS)
    assert refused.status == 503
    assert "retry-after" in refused.head.lower()
    assert (await clients[0].get("/api/status")).status_code == 200
    assert (await clients[1].get("/api/queue/get")).status_code == 200
    assert (await clients[0].get("/readyz")).status_code == 200
    uids.append(await add(clients[0]))
    redis.start()
    for reader in readers:
        await reader.until_type("resumed")
        await reader.until_holds(uids)
        assert (reader.rebuilt.snapshots, reader.rebuilt.gaps) == (1, 0)
    assert readers[0].rebuilt.ids[-1] == readers[1].rebuilt.ids[-1]
    uids.append(await add(clients[1]))
    for reader in readers:
        await reader.until_holds(uids)


async def test_a_redis_that_lost_its_data_is_a_gap_and_a_snapshot_for_everybody(pair, redis):
    clients, readers = pair
    uids = [await add(clients[0])]
    for reader in readers:
        await reader.until_holds(uids)
    redis.stop()
    for file in redis.folder.rglob("appendonly*.aof*"):
        file.unlink()
    redis.start()
    for reader in readers:
        gap = await reader.until_type("gap")
        assert "queue" in gap["data"]["topics"]
    uids.append(await add(clients[1]))
    for reader in readers:
        await reader.until_holds(uids)
        epoch = reader.last_id.partition("-")[0]
        assert {event["id"].partition("-")[0] for event in reader.events if event["id"]} > {epoch}
    again = Reader()
    again.last_id = readers[0].last_id
    await again.come(clients[1].port)
    assert (await again.read())["data"]["continued"]


async def test_a_redis_that_was_emptied_under_the_feet_of_replicas_is_noticed(pair, redis):
    clients, readers = pair
    await clients[0].app.ctx.services.live.state._store._redis.client.flushdb()
    for reader in readers:
        await reader.until_type("gap")
    uids = [await add(clients[1])]
    for reader in readers:
        await reader.until_holds(uids)


async def test_ids_of_events_that_a_redis_has_forgotten_are_never_given_to_others(pair, redis):
    clients, readers = pair
    store = clients[0].app.ctx.services.live.state._store
    client = store._redis.client
    await add(clients[0])
    for reader in readers:
        await reader.until_type("item_added")
    epoch, number = await store.position()
    saved = {key: await client.dump(key) for key in await client.keys("*")}
    newer = [await add(clients[0]), await add(clients[1])]
    for reader in readers:
        await reader.until(lambda _, reader=reader: reader.rebuilt.uids[-2:] == newer)
    async with client.pipeline() as back:  # As a Redis that was restored from its last save.
        back.flushdb()
        for key, value in saved.items():
            back.restore(key, 0, value)
        await back.execute()
    for reader in readers:
        await reader.until_type("gap")
    assert (await store.position())[0] != epoch
    assert number > 0


async def test_a_hung_redis_delays_neither_reads_nor_the_classic_status_websocket(pair, redis):
    clients, readers = pair
    watcher = await Watcher.connect(clients[0].port, "/api/status/ws", HEADERS)
    redis.process.send_signal(signal.SIGSTOP)
    await readers[0].until_type("interrupted")
    uid = await add(clients[1])
    async with asyncio.timeout(20):
        while json.loads(await watcher.recv())["msg"]["status"]["items_in_queue"] != 1:
            pass
    assert (await clients[0].get("/api/queue/get")).json()["items"][0]["item_uid"] == uid
    redis.process.send_signal(signal.SIGCONT)
    for reader in readers:
        await reader.until_holds([uid])
        assert (reader.rebuilt.snapshots, reader.rebuilt.gaps) == (1, 0)
    assert sum(feed(client).lease.is_held for client in follower_first(clients)) <= 1
