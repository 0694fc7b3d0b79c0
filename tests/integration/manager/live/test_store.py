"""What is appended to the log of all replicas: by the newest fence only, once for a token, all of a step or nothing."""

import asyncio
import os

import pytest

from sanic_qserver.config.settings import ReplicasConfig
from sanic_qserver.manager.live.shared.store import Entry, LogStore, Refused
from sanic_qserver.shared_state.redis import SharedRedis

EVENT = Entry("queue", b'{"time":1.0,"topic":"queue","type":"item_added","data":{}}', "item_added")


@pytest.fixture
async def shared(redis):
    connected = SharedRedis(ReplicasConfig(redis=redis.url, name=os.urandom(4).hex()))
    yield connected
    await connected.close()


@pytest.fixture
def store(shared):
    return LogStore(shared, shared.key("fence"), kept_events=20, kept_relayed=20)


async def test_an_old_fence_and_an_old_epoch_append_nothing_and_store_nothing(store, shared):
    epoch, _ = await store.open("", 0)
    await shared.client.set(shared.key("fence"), 7)
    assert await store.append(epoch, 7, [EVENT, EVENT], {"queue": b"new"}) == 2
    for old in ((epoch, 6), ("before", 7)):
        with pytest.raises(Refused):
            await store.append(*old, [EVENT], {"queue": b"old"})
    states = await store.states(["queue"])
    assert (states.number, states.bodies) == (2, {"queue": b"new"})


async def test_what_any_replica_appends_twice_is_there_once(store):
    epoch, _ = await store.open("", 0)
    for _ in range(3):
        assert await store.append(epoch, None, [EVENT], {}, "token") == 1
    assert await store.append(epoch, None, [EVENT], {}, "other") == 2


async def test_states_are_read_as_of_the_number_that_is_read_with_them(store, shared):
    epoch, _ = await store.open("", 0)
    await shared.client.set(shared.key("fence"), 1)

    async def write():
        for number in range(1, 200):
            await store.append(epoch, 1, [EVENT], {"queue": b"%d" % number + b" " * 20_000 * (number % 2)})

    writing = asyncio.ensure_future(write())
    seen = 0
    while not writing.done():
        states = await store.states(["queue"])
        assert int(states.bodies.get("queue", b"0")) == states.number
        seen += 1
    await writing
    assert seen > 1


async def test_the_log_is_bounded_and_says_what_is_gone(store, shared):
    epoch, _ = await store.open("", 0)
    await shared.client.set(shared.key("fence"), 1)
    relayed = Entry("relay:console", b"{}")
    for _ in range(20):
        await store.append(epoch, 1, [EVENT, relayed] * 50, {})
    everything = await store.everything(["queue"])
    numbers = [read.number for read in everything.entries["queue"]]
    assert numbers == list(range(981, 1001))
    assert everything.lost["queue"] == 980
    assert everything.lost["status"] == 0
    assert len(everything.entries["relay:console"]) == 20
    for stream in ("queue", "relay:console"):
        assert await shared.client.xlen(shared.key("events", "log", stream)) < 400


async def test_all_of_it_goes_away_some_time_after_the_last_follower(store, shared):
    epoch, _ = await store.open("", 0)
    await shared.client.set(shared.key("fence"), 1)
    await store.append(epoch, 1, [EVENT], {"queue": b"1"})
    await store.touch()
    await store.append(epoch, 1, [EVENT], {"queue": b"2"})
    await store.append(epoch, None, [EVENT], {}, "token")
    assert [key for key in await shared.client.keys("*") if await shared.client.ttl(key) < 0] == []


async def test_after_a_start_of_redis_nothing_is_appended_before_replicas_said_how_far_they_were_told(store, shared):
    epoch, _ = await store.open("", 0)
    await shared.client.set(shared.key("fence"), 1)
    await store.append(epoch, 1, [EVENT] * 5, {})
    await shared.client.set(shared.key("events", "run"), "the run before")
    assert await store.open("", 0) == (epoch, 5)
    early = asyncio.ensure_future(store.append(epoch, 1, [EVENT], {}))
    new, number = await store.open(epoch, 6)  # It was told one that this Redis does not know.
    assert (new != epoch, number) == (True, 0)
    with pytest.raises(Refused):
        await early
