"""Group commit: what each caller sees is what it would have seen alone, and nothing overtakes anything."""

import asyncio
import contextlib
import random
import signal

import msgspec
import pytest
import zmq
from servers import Instrument

from sanic_qserver.config.settings import ManagerConfig, ReadsConfig, SubmissionsConfig
from sanic_qserver.errors import GatewayError, ManagerLost
from sanic_qserver.manager.client.batching import make_batcher
from sanic_qserver.manager.client.client import ManagerClient
from sanic_qserver.manager.read_cache import ReadCache

WHO = {"user": "tester", "user_group": "primary"}
GOOD = [
    {"name": "count", "args": [["det1"]], "item_type": "plan"},
    {"name": "count", "args": [["det1", "det2"]], "kwargs": {"num": 3}, "item_type": "plan", "meta": {"ü": "\u2028"}},
    {"name": "queue_stop", "item_type": "instruction"},
    {"name": "count", "args": [["det1"]], "item_type": "plan", "item_uid": "mine", "junk": 1, "user": "somebody"},
]
BAD = [
    {"name": "no_such_plan", "item_type": "plan"},
    {"name": "count", "item_type": "plan"},
    {"name": "count", "args": [["det1"]], "kwargs": {"nope": 1}, "item_type": "plan"},
    {"name": "count", "args": [["det1"]]},
    {"name": "count", "item_type": "nonsense"},
    {"name": "no_such_instruction", "item_type": "instruction"},
    {"item_type": "plan"},
    {},
]


@pytest.fixture
async def connect(instrument):
    """Make clients of the shared RE Manager."""
    made = []

    async def connect(group_commit=True, address="", **options):
        config = ManagerConfig(control_address=address or instrument.control_address, **options)
        manager = ManagerClient(config, SubmissionsConfig(group_commit=group_commit))
        manager.open()
        made.append(manager)
        for _ in range(300):
            if manager.is_connected:
                break
            await asyncio.sleep(0.01)
        return manager

    yield connect
    for manager in made:
        await manager.close()


def add(manager, item, fairness_key="", **who):
    who = {**WHO, **who}
    return manager.add(item, who["user"], who["user_group"], fairness_key=fairness_key)


async def reply_of(future):
    return msgspec.json.decode(await future)


async def ask(manager, method, **params):
    return msgspec.json.decode(await manager.request(method, params))


def without_uid(reply):
    return {**reply, "item": {k: v for k, v in (reply["item"] or {}).items() if k != "item_uid"}}


async def test_adds_that_wait_together_go_as_one_batch(connect):
    manager = await connect()
    await ask(manager, "queue_clear")
    before = manager.counts["sent"]
    replies = await asyncio.gather(*(reply_of(add(manager, GOOD[0])) for _ in range(33)))
    assert [reply["qsize"] for reply in replies] == list(range(1, 34))
    assert manager.counts["sent"] - before == 2  # The first had nobody to wait for.


async def test_without_group_commit_every_add_is_a_call(connect):
    manager = await connect(group_commit=False)
    before = manager.counts["sent"]
    await asyncio.gather(*(reply_of(add(manager, GOOD[0])) for _ in range(10)))
    assert manager.counts["sent"] - before == 10


@pytest.mark.parametrize("item", GOOD + BAD)
async def test_the_reply_in_a_batch_is_the_reply_alone(connect, item):
    manager = await connect()
    await ask(manager, "queue_clear")
    alone = await ask(manager, "queue_item_add", item=item, **WHO)
    await ask(manager, "queue_clear")
    first = add(manager, BAD[0])  # Holds its caller's queue, so that the others gather.
    together = [add(manager, item), add(manager, item)]
    await first
    replies = [await reply_of(future) for future in together]
    count = 2 if alone["success"] else 0
    assert without_uid(replies[0]) == without_uid({**alone, "qsize": 1 if alone["success"] else None})
    assert list(replies[0]) == list(alone)
    if alone["success"]:
        assert list(replies[0]["item"]) == list(alone["item"])
        assert replies[0]["item"]["item_uid"] != replies[1]["item"]["item_uid"]
    assert len((await ask(manager, "queue_get"))["items"]) == count


async def test_a_refused_batch_is_sent_one_by_one(connect):
    manager = await connect()
    alone = await ask(manager, "queue_item_add", item=GOOD[0], user="x", user_group="unknown")
    await ask(manager, "queue_clear")
    futures = [add(manager, GOOD[0], user_group="unknown") for _ in range(4)]
    assert [await reply_of(future) for future in futures] == [alone] * 4


async def test_a_locked_queue_refuses_each_add_as_it_would_alone(connect):
    manager = await connect()
    await ask(manager, "lock", lock_key="k", queue=True, user="tester")
    try:
        alone = await ask(manager, "queue_item_add", item=GOOD[0], **WHO)
        futures = [add(manager, GOOD[0]) for _ in range(4)]
        assert [await reply_of(future) for future in futures] == [alone] * 4
    finally:
        await ask(manager, "unlock", lock_key="k")


async def test_only_adds_of_the_same_user_and_group_go_together(connect):
    manager = await connect()
    await ask(manager, "queue_clear")
    users = ["a", "a", "b", "b", "a"]
    futures = [add(manager, GOOD[0], user=user) for user in users]
    replies = [await reply_of(future) for future in futures]
    assert [reply["item"]["user"] for reply in replies] == users
    assert [item["user"] for item in (await ask(manager, "queue_get"))["items"]] == users


def numbered(number):
    return {**GOOD[0], "meta": {"number": number}}


def add_good(manager, rng, queue, number):
    queue.append(number)
    return add(manager, numbered(number))


def add_bad(manager, rng, queue, number):
    return add(manager, rng.choice(BAD))


def add_front(manager, rng, queue, number):
    queue.insert(0, number)
    return manager.submit("queue_item_add", {"item": numbered(number), "pos": "front", **WHO})


def clear(manager, rng, queue, number):
    queue.clear()
    return manager.submit("queue_clear")


def pop(manager, rng, queue, number):
    del queue[-1:]
    return manager.submit("queue_item_remove", {"pos": "back"})


def move(manager, rng, queue, number):
    queue[:] = queue[-1:] + queue[:-1]
    return manager.submit("queue_item_move", {"pos": "back", "pos_dest": "front"})


STEPS = {"good": add_good, "bad": add_bad, "clear": clear, "front": add_front, "pop": pop, "move": move}


@pytest.mark.parametrize("seed", range(6))
async def test_any_mixture_of_writes_has_the_effect_of_one_after_the_other(connect, seed):
    """Random adds, good and bad, with clears, removals and moves between them: compared with a model of the queue."""
    rng = random.Random(seed)
    manager = await connect(queue_wait_s=30.0)
    await ask(manager, "queue_clear")
    queue, expected, futures = [], [], []
    for number in range(rng.choice((40, 120))):
        kind = rng.choices(list(STEPS), (60, 12, 2, 5, 5, 5))[0]
        futures.append(STEPS[kind](manager, rng, queue, number))
        expected.append((kind, len(queue)))
        if rng.random() < 0.1:
            await asyncio.sleep(rng.random() * 0.02)
    replies = [await reply_of(future) for future in futures]
    for (kind, size), reply in zip(expected, replies, strict=True):
        if kind in ("good", "front"):
            assert (reply["success"], reply["qsize"]) == (True, size)
        elif kind == "bad":
            assert (reply["success"], reply["qsize"]) == (False, None)
    items = (await ask(manager, "queue_get"))["items"]
    assert [item["meta"]["number"] for item in items] == queue


async def test_a_caller_who_left_before_the_sending_adds_nothing(connect):
    manager = await connect()
    await ask(manager, "queue_clear")
    futures = [add(manager, GOOD[0]) for _ in range(5)]
    futures[2].cancel()
    replies = [await reply_of(future) for future in futures if not future.cancelled()]
    assert [reply["qsize"] for reply in replies] == [1, 2, 3, 4]


async def test_a_lost_batch_is_unknown_for_each_add_in_it(connect, tmp_path):
    with Instrument(tmp_path) as own:
        manager = await connect(address=own.control_address, short_deadline_s=30.0, queue_wait_s=30.0)
        await reply_of(add(manager, GOOD[0]))
        own.manager.signal(signal.SIGSTOP)
        # The first is under way and holds the others together behind it; nothing is answered any more.
        futures = [add(manager, GOOD[0]) for _ in range(6)]
        manager._in_flight[b"batch"] = make_batcher(manager._encode)(_waiting(manager))
        own.manager.signal(signal.SIGKILL)
        results = await asyncio.gather(*futures, return_exceptions=True)
    for error in results:
        assert isinstance(error, ManagerLost)
        assert "outcome is unknown" in error.detail
        assert "queue_item_add'" in error.detail
    assert len({id(error) for error in results}) == len(results)


def _waiting(manager):
    """The adds that wait, taken out of the line as a batch would take them."""
    return [entry for queue in manager._waiting._writes.values() for entry in list(queue.calls)]


async def test_a_waiting_line_tells_how_long_it_is(connect):
    manager = await connect(queue_limit=5)
    results = await asyncio.gather(*(_caught(manager, number) for number in range(30)))
    refused = [error for error in results if isinstance(error, GatewayError)]
    assert refused
    assert all(error.status == 503 and int(error.headers["Retry-After"]) >= 1 for error in refused)


async def _caught(manager, number):
    try:
        return await manager.request("task_status", {"task_uid": str(number)})
    except GatewayError as error:
        return error


@pytest.mark.slow
async def test_with_msgpack_and_a_key_everything_is_the_same(connect, tmp_path):
    """Group commit and kept reads over an encrypted, msgpack-speaking RE Manager."""
    public, private = (key.decode() for key in zmq.curve_keypair())
    with Instrument(tmp_path, encoding="msgpack", private_key=private) as own:
        manager = await connect(address=own.control_address, encoding="msgpack", public_key=public, queue_wait_s=20.0)
        for _ in range(200):
            with contextlib.suppress(GatewayError):
                await manager.request("status")
                break
            await asyncio.sleep(0.1)
        items = [GOOD[1], BAD[0], *([GOOD[0]] * 10), BAD[1]]
        replies = await asyncio.gather(*(reply_of(add(manager, item)) for item in items))
        assert [reply["success"] for reply in replies] == [item in GOOD for item in items]
        assert replies[0]["item"]["meta"] == GOOD[1]["meta"]
        reads = ReadCache(manager, ReadsConfig())
        first, second = await reads.read("queue_get"), await reads.read("queue_get")
        assert second is first
        assert len(msgspec.json.decode(first.json)["items"]) == 11
