"""Where an item is: in the queue, running, or in the history, and which runs it made.

RE Manager moves an item from the queue to the history in one step under its lock, and never back under the same uid.
So the queue is read first and the history after it: an item that has left the queue by then is in the history. Both
come from the read cache, which may be some milliseconds behind while a plan starts or ends (`manager/read_cache.py`);
an item that is in neither is looked for once more in replies that were asked for now.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Raw, Struct

from sanic_qserver.api.call import Call
from sanic_qserver.api.lists import refuse_unread_items, split_items
from sanic_qserver.manager.bodies import Body
from sanic_qserver.manager.replies import decode_as, decode_reply

FINISHED = ("completed", "failed", "stopped", "aborted", "halted", "skipped", "unknown")
STATES = ("proposed", "queued", "running", *FINISHED)


class _Result(Struct):
    exit_status: str = "unknown"
    run_uids: list[str] = []
    scan_ids: list[int] = []
    time_start: float | None = None
    time_stop: float | None = None


class _Properties(Struct):
    time_start: float | None = None


class _Item(Struct):
    """What is looked at in an item."""

    item_uid: str = ""
    user: Any = None
    result: _Result | None = None
    properties: _Properties | None = None


_decode_item = msgspec.json.Decoder(_Item).decode


class ItemState(Struct, kw_only=True, frozen=True):
    """What became of an item. `position` counts from the front of the queue, `ahead` counts what runs before it.

    `run_uids` and `scan_ids` are those of an ended plan; of the running one they are those known so far. Times are
    POSIX, in seconds; `item` and `result` are as RE Manager tells them.
    """

    item_uid: str
    state: str
    position: int | None = None
    ahead: int | None = None
    item: Any
    result: Any = None
    run_uids: list[str] = []
    scan_ids: list[int] = []
    time_start: float | None = None
    time_stop: float | None = None


@dataclass(frozen=True)
class _Queue:
    """A reply to `queue_get`, by uid."""

    items: Mapping[str, tuple[int, Raw]]
    running_uid: str
    running: Raw


class QueueAndHistory:
    """One look at the queue and, after it, at the history."""

    def __init__(self, queue: Body, history: Body) -> None:
        self._queue: _Queue = queue.made("item states", lambda: _index_queue(queue.json))
        self._history: dict[str, Raw] = history.made("item states", lambda: _index_history(history.json))

    def find(self, uid: str) -> ItemState | None:
        """The state of an item; None when it is in neither."""
        if (placed := self._queue.items.get(uid)) is not None:
            position, item = placed
            return self._describe_queued(uid, position, item)
        if (ended := self._history.get(uid)) is not None:
            return _describe_ended(uid, ended)
        if uid and uid == self._queue.running_uid:
            return self._describe_running()
        return None

    def list_all(self, user: str | None, states: frozenset[str]) -> Iterator[ItemState]:
        """The items in these states: the running one, the queue from its front, the history from its newest.

        With `user` None everybody's.
        """
        for state in self._walk(user):
            if state.state in states:
                yield state

    def _walk(self, user: str | None) -> Iterator[ItemState]:
        has_running = self._queue.running_uid and self._queue.running_uid not in self._history
        if has_running and _belongs(self._queue.running, user):
            yield self._describe_running()
        for uid, (position, item) in self._queue.items.items():
            if _belongs(item, user):
                yield self._describe_queued(uid, position, item)
        for uid, item in reversed(self._history.items()):
            if _belongs(item, user):
                yield _describe_ended(uid, item)

    def _describe_queued(self, uid: str, position: int, item: Raw) -> ItemState:
        ahead = position + bool(self._queue.running_uid)
        return ItemState(item_uid=uid, state="queued", position=position, ahead=ahead, item=item)

    def _describe_running(self) -> ItemState:
        item = self._queue.running
        properties = read_item(item).properties or _Properties()
        return ItemState(
            item_uid=self._queue.running_uid, state="running", ahead=0, item=item, time_start=properties.time_start
        )


async def look(call: Call) -> QueueAndHistory:
    """The queue and the history, from the read cache."""
    queue = await call.services.reads.read("queue_get", fairness_key=call.fairness_key)
    return QueueAndHistory(queue, await call.services.reads.read("history_get", fairness_key=call.fairness_key))


async def look_again(call: Call) -> QueueAndHistory:
    """The queue and the history, asked for now (shared with callers who ask for the same at the same time)."""
    queue = Body(await call.services.reads.coalesce("queue_get", fairness_key=call.fairness_key))
    return QueueAndHistory(
        queue, Body(await call.services.reads.coalesce("history_get", fairness_key=call.fairness_key))
    )


def read_item(item: Raw) -> _Item:
    """The members of an item that matter here; empty ones when it has a form of its own."""
    try:
        return decode_as(_decode_item, item)
    except msgspec.ValidationError:
        return _Item()


def _belongs(item: Raw, user: str | None) -> bool:
    return user is None or read_item(item).user == user


def _index_queue(reply: bytes) -> _Queue:
    head, items = split_items(reply)
    refuse_unread_items(head)
    running = head.get("running_item", Raw(b"{}"))
    return _Queue(
        items={read_item(item).item_uid: (position, item) for position, item in enumerate(items)},
        running_uid=read_item(running).item_uid,
        running=running,
    )


def _index_history(reply: bytes) -> dict[str, Raw]:
    head, items = split_items(reply)
    refuse_unread_items(head)
    return {read_item(item).item_uid: item for item in items}


def _describe_ended(uid: str, item: Raw) -> ItemState:
    result = read_item(item).result or _Result()
    return ItemState(
        item_uid=uid,
        state=result.exit_status if result.exit_status in FINISHED else "unknown",
        item=item,
        result=decode_reply(item).get("result"),
        run_uids=result.run_uids,
        scan_ids=result.scan_ids,
        time_start=result.time_start,
        time_stop=result.time_stop,
    )
