"""The state of queue and history, put together from two replies of which one may be behind."""

import asyncio
import json
from types import SimpleNamespace

import pytest

from sanic_qserver.config.settings import LiveConfig
from sanic_qserver.errors import Overloaded
from sanic_qserver.manager.live import state
from sanic_qserver.manager.live.event_log import EventLog
from sanic_qserver.manager.live.state import StateTracker

RUNNING = {"item_uid": "a", "name": "count"}
ENDED = {**RUNNING, "result": {"exit_status": "completed", "run_uids": ["r"]}}


class Replies:
    """RE Manager and the read cache, played: the cache may be behind while a plan ends."""

    def __init__(self):
        self.cached, self.now = {}, {}

    async def read(self, method):
        return SimpleNamespace(json=json.dumps(self.cached[method]).encode())

    async def coalesce(self, method):
        return json.dumps(self.now[method]).encode()

    def say(self, queue, history, history_now=None):
        self.cached = {"queue_get": queue, "history_get": history}
        self.now = {"history_get": history if history_now is None else history_now}
        return {"plan_queue_uid": queue["plan_queue_uid"], "plan_history_uid": history["plan_history_uid"]}


def queue(uid, running=None):
    return {"success": True, "items": [], "running_item": running or {}, "plan_queue_uid": uid}


def history(uid, *items):
    return {"success": True, "items": list(items), "plan_history_uid": uid}


LATE_HISTORY = [
    (queue("q1", RUNNING), history("h1"), None),
    (queue("q2"), history("h1"), history("h2", ENDED)),
    (queue("q2"), history("h2", ENDED), None),
]
LATE_QUEUE = [
    (queue("q1", RUNNING), history("h1"), None),
    (queue("q1", RUNNING), history("h2", ENDED), None),
    (queue("q2"), history("h2", ENDED), None),
]


@pytest.mark.parametrize("looks", [LATE_HISTORY, LATE_QUEUE], ids=["history", "queue"])
async def test_an_item_is_told_as_finished_once_whichever_reply_is_behind(looks):
    replies, told = Replies(), []
    events = EventLog(LiveConfig())
    events.publish = lambda topic, kind, data, *_, **__: told.append((topic, kind, data.get("exit_status")))
    status = SimpleNamespace(current=None, follow=lambda _: lambda: None)
    tracker = StateTracker(LiveConfig(), events, status, replies, SimpleNamespace())
    tracker._wanted |= {"queue", "history"}
    for look in looks:
        await tracker._look_at_items(replies.say(*look))
    assert [one for one in told if one[1] == "item_finished"] == [("queue", "item_finished", "completed")]


@pytest.mark.parametrize("unread", ["queue_get", "history_get"])
async def test_a_list_that_re_manager_could_not_read_is_no_change(unread):
    replies, told = Replies(), []
    events = EventLog(LiveConfig())
    events.publish = lambda topic, kind, *_, **__: told.append((topic, kind))
    status = SimpleNamespace(current=None, follow=lambda _: lambda: None)
    tracker = StateTracker(LiveConfig(), events, status, replies, SimpleNamespace())
    tracker._wanted |= {"queue", "history"}
    await tracker._look_at_items(replies.say(queue("q1", RUNNING), history("h1", {"item_uid": "old"})))
    values = replies.say(queue("q2", RUNNING), history("h2", {"item_uid": "old"}))
    failed = {"success": False, "msg": "Error: Redis is away", "items": [], "running_item": {},
              "plan_queue_uid": "", "plan_history_uid": ""}  # fmt: skip
    replies.cached[unread] = failed
    with pytest.raises(Overloaded, match="Redis is away"):
        await tracker._look_at_items(values)
    assert told == []
    assert (tracker.queue.uid, tracker.history.uid) == ("q1", "h1")


@pytest.mark.parametrize("fails", [True, False], ids=["failed", "was answered late"])
async def test_a_look_that_waited_for_re_manager_does_not_delay_the_next_one_as_long(monkeypatch, fails):
    now, seen = [0.0], asyncio.Event()
    monkeypatch.setattr(state, "time", SimpleNamespace(monotonic=lambda: now[0]))
    replies, read_count = Replies(), 0
    values = replies.say(queue("q1"), history("h1"))
    read = replies.read

    async def read_late(method):
        nonlocal read_count
        read_count += 1
        if read_count == 1:
            now[0] += 100.0
            if fails:
                raise Overloaded("The call waited for RE Manager and was not sent")
        return await read(method)

    def look_again():
        if tracker.queue.uid == "q2":
            seen.set()
        values.update(replies.say(queue("q2"), history("h1")))
        tracker._changed.set()

    replies.read = read_late
    status = SimpleNamespace(current=SimpleNamespace(values=values, raw=b"{}"), follow=lambda _: lambda: None)
    tracker = StateTracker(LiveConfig(poll_s=0.01), EventLog(LiveConfig()), status, replies, SimpleNamespace())
    tracker._wanted |= {"queue", "history"}
    tracker.on_look(look_again)
    tracker._changed.set()
    looking = asyncio.create_task(tracker._keep_looking())
    async with asyncio.timeout(60):
        await seen.wait()
    looking.cancel()
