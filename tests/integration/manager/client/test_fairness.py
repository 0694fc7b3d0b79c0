"""Fair queuing: nobody starves, and everybody's own calls keep their order."""

import asyncio
import time

import msgspec
import pytest

from sanic_qserver.config.settings import ManagerConfig, SubmissionsConfig
from sanic_qserver.errors import ManagerTimeout, Overloaded
from sanic_qserver.manager.client.batching import Batch
from sanic_qserver.manager.client.call import QueuedCall
from sanic_qserver.manager.client.client import ManagerClient, Rate
from sanic_qserver.manager.client.scheduler import CROWDED_BATCH, READERS_S, FairScheduler

ITEM = {"name": "queue_stop", "item_type": "instruction"}


CLOCK = [0.0]


@pytest.fixture
async def line():
    CLOCK[0] = 0.0
    return FairScheduler(lambda members: Batch(members, b""), at_once=4, max_batch=64, clock=lambda: CLOCK[0])


def call(line, key, method="queue_clear", fold=None):
    entry = QueuedCall(method, b"", 1.0, asyncio.get_running_loop().create_future(), key)
    entry.batch_key = fold
    line.append(entry)
    return entry


def taken(line, count):
    """The fairness keys of the next calls, each answered at once."""
    keys = []
    for _ in range(count):
        entry = line.popleft()
        keys.append(entry.fairness_key)
        line.left(entry)
    return "".join(keys)


async def test_principals_take_turns(line):
    for key in "aaaaaaab" + "c":
        call(line, key)
    assert taken(line, 9) == "abcaaaaaa"
    assert len(line) == 0


async def test_reads_go_first_and_leave_writes_their_turn(line):
    for _ in range(3):
        call(line, "w")
    for _ in range(9):
        call(line, "r", "task_status")
    assert taken(line, 12) == "rrrrwrrrrwrw"


async def test_reads_gather_while_a_short_write_is_under_way_and_nothing_passes_them(line):
    write = call(line, "a", "queue_item_add")
    assert line.popleft() is write
    reads = [call(line, key, "task_status") for key in "ab"]
    later = call(line, "c", "queue_item_add")
    assert line.popleft() is None
    line.left(write)
    assert [line.popleft() for _ in range(3)] == [*reads, later]


async def test_reads_do_not_wait_for_a_slow_write(line):
    assert line.popleft() is None
    call(line, "a", "queue_item_add_batch")
    line.popleft()
    reading = call(line, "b", "status")
    assert line.popleft() is reading


async def test_reads_do_not_wait_for_a_write_that_timed_out(line):
    write = call(line, "a", "queue_item_add")
    line.popleft()
    reading = call(line, "b", "status")
    assert line.popleft() is None
    write.fail(ManagerTimeout("The outcome is unknown"))
    assert line.popleft() is reading
    write.future.exception()


async def test_one_write_is_under_way_while_somebody_reads(line):
    for key in "abc":
        call(line, key, "queue_item_add")
    reading = call(line, "r", "status")
    assert line.popleft() is reading
    first = line.popleft()
    assert line.popleft() is None
    line.left(first)
    assert line.popleft() is not None
    assert line.popleft() is None
    CLOCK[0] += READERS_S
    assert line.popleft() is not None


async def test_writes_never_fill_the_window(line):
    for _ in range(10):
        call(line, "w")
    under_way = []
    while (entry := line.popleft()) is not None:
        under_way.append(entry)
    assert len(under_way) == 4
    reading = call(line, "r", "task_status")
    assert line.popleft() is reading
    line.left(under_way[0])
    CLOCK[0] += READERS_S
    assert line.popleft() is not None
    assert line.popleft() is None


async def test_a_caller_keeps_its_order_around_a_batch(line):
    for fold in (1, 1, 1, None, 1):
        call(line, "a", "queue_item_add", fold)
    batch = line.popleft()
    assert len(batch.parts) == 3
    assert line.popleft() is None  # The clear waits: the batch may have to be sent again.
    line.left(batch)
    alone = line.popleft()
    assert alone.batch_key is None


async def test_batches_are_small_while_others_wait_or_read(line):
    for _ in range(200):
        call(line, "a", "queue_item_add", 1)
    call(line, "b")
    first = line.popleft()
    assert len(first.parts) == CROWDED_BATCH
    line.left(first)
    other = line.popleft()
    assert other.fairness_key == "b"
    line.left(other)
    second = line.popleft()
    assert len(second.parts) == 64
    line.left(second)
    call(line, "r", "status")
    line.popleft()
    third = line.popleft()
    assert len(third.parts) == CROWDED_BATCH
    line.left(third)
    CLOCK[0] += READERS_S
    assert len(line.popleft().parts) == 64


async def test_what_was_dropped_is_neither_counted_nor_sent(line):
    entries = [call(line, "a") for _ in range(3)]
    line.drop(entries[0])
    line.drop(entries[0])
    assert len(line) == 2
    assert line.popleft() is entries[1]


def test_the_time_to_wait_comes_from_the_measured_rate():
    rate = Rate()
    now = 0.0
    for _ in range(200):
        rate.answered(now, now + 0.1, 1)
        now += 0.1
    assert rate.calls_per_s == pytest.approx(10, rel=0.05)
    assert rate.retry_after(200) in ("20", "21")
    assert rate.retry_after(0) == "1"
    assert rate.retry_after(10**9) == "60"


async def test_one_who_floods_does_not_keep_others_waiting(instrument):
    manager = ManagerClient(
        ManagerConfig(control_address=instrument.control_address, queue_wait_s=60.0),
        SubmissionsConfig(group_commit=False),
    )
    manager.open()
    try:
        await manager.request("queue_clear")
        flood = [manager.add(ITEM, "a", "primary", fairness_key="a") for _ in range(300)]
        started = time.monotonic()
        await manager.add(ITEM, "b", "primary", fairness_key="b")
        write_s = time.monotonic() - started
        await manager.request("status", fairness_key="b")
        read_s = time.monotonic() - started - write_s
        left = sum(not future.done() for future in flood)
        await asyncio.gather(*flood)
        flood_s = time.monotonic() - started
        # In turn: after a handful of the other's calls, not after all 300.
        assert left > 200
        assert max(write_s, read_s) < flood_s / 3
        queue = msgspec.json.decode(await manager.request("queue_get"))["items"]
        assert len(queue) == 301
    finally:
        await manager.close()


async def test_when_there_is_no_room_the_newest_call_of_whoever_has_most_gives_way(line):
    flood = [call(line, "a", "task_status") for _ in range(4)]
    call(line, "b")
    assert line.displace("a") is None
    assert [line.displace("c") for _ in range(4)] == [flood[3], flood[2], flood[1], None]
    assert len(line) == 2
    assert taken(line, 2) == "ab"


async def test_a_call_that_others_share_is_displaced_last(line):
    own, shared, write = (call(line, "a", method) for method in ("task_status", "status", "queue_clear"))
    shared.is_shared = True
    assert [line.displace("b"), line.displace("b")] == [own, write]
    assert line.displace("b") is None


async def test_what_is_dropped_while_nothing_is_sent_leaves_nothing_behind(line):
    for entry in [call(line, key, method) for key in "ab" for method in ("status", "queue_clear")]:
        line.drop(entry)
    assert (line._reads, line._writes, line._counts) == ({}, {}, {})


async def test_an_observer_who_fills_the_queue_costs_nobody_else_a_call(instrument):
    config = ManagerConfig(control_address=instrument.control_address, queue_limit=60, queue_wait_s=20)
    client = ManagerClient(config)
    client.open()
    await client.request("queue_clear")
    refused = 0

    async def observe(number):
        nonlocal refused
        try:
            await client.request("queue_item_get", {"uid": f"none {number}"}, fairness_key="observer")
        except Overloaded:
            refused += 1

    flood = [asyncio.ensure_future(observe(number)) for number in range(300)]
    await asyncio.sleep(0)
    try:
        own = {"item": ITEM, "user": "operator", "user_group": "primary"}
        adds = [client.request("queue_item_add", own, fairness_key="operator") for _ in range(25)]
        replies = [msgspec.json.decode(reply) for reply in await asyncio.gather(*adds)]
        assert all(reply["success"] for reply in replies)
        await asyncio.gather(*flood)
        assert refused >= 300 - config.queue_limit - config.window  # More, when adds displaced some that waited.
    finally:
        await client.request("queue_clear")
        await client.close()
