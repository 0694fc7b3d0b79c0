"""What the follower records: events and the states that they lead to, in one step."""

import asyncio

import msgspec
import pytest

from sanic_qserver.config.settings import LiveConfig
from sanic_qserver.manager.live.diff import QueueState, RunsState
from sanic_qserver.manager.live.shared import recorder as module
from sanic_qserver.manager.live.shared.recorder import Recorder
from sanic_qserver.manager.live.shared.states import Look
from sanic_qserver.shared_state.redis import SharedStateAway

NOTHING = Look(None, None, None, None, None)


class Store:
    """Takes steps, or fails."""

    def __init__(self):
        self.steps = []
        self.fails = False

    async def append(self, epoch, fence, entries, states):
        await asyncio.sleep(0)
        if self.fails:
            raise SharedStateAway("away")
        self.steps.append(([(entry.stream, entry.kind) for entry in entries], set(states)))
        return len(self.steps)


def queue(uid):
    return QueueState(uid, {}, "", msgspec.Raw(b"{}"))


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def recorder(store):
    made = Recorder(LiveConfig(tick_s=0.001), store, "epoch", 1)
    made.now = NOTHING
    made.record(lambda: made.now, NOTHING)
    return made


async def test_a_state_that_becomes_known_is_told_once_as_a_snapshot_and_then_by_its_changes(recorder, store):
    recorder.now = NOTHING._replace(queue=queue("1"))
    recorder.publish("queue", "item_added", {})  # Part of the snapshot: nobody was told a state before.
    await recorder.finish()
    recorder.now = NOTHING._replace(queue=queue("2"))
    recorder.publish("queue", "item_added", {})
    await recorder.finish()
    await recorder.finish()
    assert store.steps == [([("queue", "snapshot")], {"queue"}), ([("queue", "item_added")], {"queue"})]


async def test_what_was_stored_before_is_not_told_again(store):
    known = NOTHING._replace(queue=queue("1"), runs=RunsState("r", {}))
    recorder = Recorder(LiveConfig(), store, "epoch", 2)
    recorder.record(lambda: known, known)
    await recorder.finish()
    assert store.steps == []


async def test_after_a_step_of_unknown_outcome_nothing_more_is_appended(recorder, store):
    store.fails = True
    recorder.publish("status", "unavailable", {})
    with pytest.raises(SharedStateAway):
        await recorder.run()
    store.fails = False
    recorder.publish("status", "available", {})
    await recorder.finish()
    assert store.steps == []


async def test_a_slow_redis_costs_output_of_the_console_and_nothing_of_a_state(recorder, store, monkeypatch, caplog):
    monkeypatch.setattr(module, "_MOST", 10)
    for _ in range(20):
        recorder.publish("console", "output", {"text": "x"})
    recorder.publish("status", "unavailable", {})
    await recorder.finish()
    assert len(store.steps[0][0]) == 11
    assert store.steps[0][0][-1] == ("status", "unavailable")
    assert "10 lines of the console were left out" in caplog.text
