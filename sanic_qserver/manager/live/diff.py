"""What changed between two looks at the queue, the history and the runs. Pure functions: no clock, no sockets.

Items are compared by uid and by their bytes, and told as RE Manager sent them. Queue changes, applied in order to the
old queue, give the new one: an item goes directly behind `after_uid`, null being the front; `pos` is its place at the
end.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw, Struct

from sanic_qserver.manager.replies import decode_as, refuse_unread


class Change(NamedTuple):
    """One change: its type, and what is told of it."""

    type: str
    data: dict[str, Any]


class QueueState(Struct, frozen=True):
    """The queue at one look: items by uid, in order, and the running one (uid "" for none)."""

    uid: str
    items: Mapping[str, Raw]
    running_uid: str
    running: Raw


class HistoryState(Struct, frozen=True):
    """The history at one look: items by uid, in order."""

    uid: str
    items: Mapping[str, Raw]


class RunsState(Struct, frozen=True):
    """The runs of the current plan at one look, by uid."""

    uid: str
    runs: Mapping[str, dict[str, Any]]


def to_data(state: QueueState | HistoryState | RunsState) -> dict[str, Any]:
    """A state as it is sent to subscribers."""
    if isinstance(state, QueueState):
        return {"items": list(state.items.values()), "running_item": state.running, "plan_queue_uid": state.uid}
    if isinstance(state, HistoryState):
        return {"items_in_history": len(state.items), "plan_history_uid": state.uid}
    return {"run_list": list(state.runs.values()), "run_list_uid": state.uid}


class Ended(Struct, frozen=True):
    """How a plan of the history ended."""

    item_uid: str = ""
    name: str = ""
    result: dict[str, Any] | None = None


class _QueueReply(Struct, kw_only=True):
    success: bool = True
    msg: str = ""
    items: list[Raw]
    running_item: Raw
    plan_queue_uid: str


class _HistoryReply(Struct, kw_only=True):
    success: bool = True
    msg: str = ""
    items: list[Raw]
    plan_history_uid: str


class _RunsReply(Struct):
    run_list: list[dict[str, Any]]
    run_list_uid: str


class _LockReply(Struct):
    lock_info: Raw
    lock_info_uid: Raw


class _Item(Struct):
    item_uid: str = ""


_uid_of = msgspec.json.Decoder(_Item).decode
_ended = msgspec.json.Decoder(Ended).decode
_queue_reply = msgspec.json.Decoder(_QueueReply).decode
_history_reply = msgspec.json.Decoder(_HistoryReply).decode
_runs_reply = msgspec.json.Decoder(_RunsReply).decode
_lock_reply = msgspec.json.Decoder(_LockReply).decode


def parse_queue(reply: bytes) -> QueueState:
    """The queue in a reply to `queue_get`. Raises Overloaded when RE Manager could not read it."""
    queue = decode_as(_queue_reply, reply)
    refuse_unread(queue.success, queue.msg)
    items = {_uid_of(item).item_uid: item.copy() for item in queue.items}
    return QueueState(queue.plan_queue_uid, items, _uid_of(queue.running_item).item_uid, queue.running_item.copy())


def parse_history(reply: bytes) -> HistoryState:
    """The history in a reply to `history_get`. Raises Overloaded when RE Manager could not read it."""
    history = decode_as(_history_reply, reply)
    refuse_unread(history.success, history.msg)
    return HistoryState(history.plan_history_uid, {_uid_of(item).item_uid: item.copy() for item in history.items})


def parse_runs(reply: bytes) -> RunsState:
    """The runs in a reply to `re_runs`."""
    runs = decode_as(_runs_reply, reply)
    return RunsState(runs.run_list_uid, {run["uid"]: run for run in runs.run_list})


def parse_lock(reply: bytes) -> dict[str, Raw]:
    """The lock in a reply to `lock_info`."""
    lock = decode_as(_lock_reply, reply)
    return {"lock_info": lock.lock_info.copy(), "lock_info_uid": lock.lock_info_uid.copy()}


def find_new_items(old: HistoryState, new: HistoryState) -> list[tuple[Raw, Ended]]:
    """The items of the history that were not there before, and how they ended."""
    return [(item, _ended(item)) for uid, item in new.items.items() if uid not in old.items]


def diff_histories(old: HistoryState, new: HistoryState) -> Iterator[Change]:
    """`items_removed` and `item_added`."""
    gone = [uid for uid in old.items if uid not in new.items]
    if gone:
        yield Change("items_removed", {"count": len(gone), "items_in_history": len(new.items)})
    for item, ended in find_new_items(old, new):
        yield Change("item_added", {"item_uid": ended.item_uid, "item": item})


def diff_queues(old: QueueState, new: QueueState, ended: Sequence[Ended]) -> Iterator[Change]:
    """`item_finished`, `item_started`, `item_removed`, `item_added`, `item_moved`, `item_updated`."""
    yield from _runs_of_items(old, new, ended)
    finished = {item.item_uid for item in ended}
    for uid in old.items:
        if uid not in new.items and uid != new.running_uid and uid not in finished:
            yield Change("item_removed", {"item_uid": uid})
    yield from _placed(old, new)
    for uid, item in new.items.items():
        if uid in old.items and bytes(item) != bytes(old.items[uid]):
            yield Change("item_updated", {"item_uid": uid, "item": item})


def _runs_of_items(old: QueueState, new: QueueState, ended: Sequence[Ended]) -> Iterator[Change]:
    for item in ended:
        if item.item_uid != old.running_uid:  # It started and finished between the two looks.
            yield Change("item_started", {"item_uid": item.item_uid, "item": old.items.get(item.item_uid)})
        status = (item.result or {}).get("exit_status")
        runs = (item.result or {}).get("run_uids", [])
        data = {"item_uid": item.item_uid, "name": item.name, "exit_status": status, "run_uids": runs}
        yield Change("item_finished", data)
    finished = {item.item_uid for item in ended}
    if old.running_uid and old.running_uid != new.running_uid and old.running_uid not in finished:
        yield Change("item_finished", {"item_uid": old.running_uid, "name": None, "exit_status": None, "run_uids": []})
    if new.running_uid and new.running_uid != old.running_uid and new.running_uid not in finished:
        yield Change("item_started", {"item_uid": new.running_uid, "item": new.running})


def _placed(old: QueueState, new: QueueState) -> Iterator[Change]:
    """Additions and the fewest moves."""
    staying = _longest_in_order([uid for uid in old.items if uid in new.items], list(new.items))
    before: str | None = None
    for position, (uid, item) in enumerate(new.items.items()):
        place = {"item_uid": uid, "after_uid": before, "pos": position}
        if uid not in old.items:
            yield Change("item_added", {**place, "item": item})
        elif uid not in staying:
            yield Change("item_moved", place)
        before = uid


def _longest_in_order(old: Sequence[str], new: Sequence[str]) -> set[str]:
    """The most members that stand in the same order in both: they need not be moved."""
    places = {uid: place for place, uid in enumerate(new)}
    members = set(old)
    if list(old) == [uid for uid in new if uid in members]:
        return members
    ends: list[int] = []  # ends[n]: the smallest place that ends an ordered row of n + 1
    end_uids: list[str] = []
    previous: dict[str, str | None] = {}
    for uid in old:
        length = bisect_left(ends, places[uid])
        previous[uid] = end_uids[length - 1] if length else None
        if length == len(ends):
            ends.append(places[uid])
            end_uids.append(uid)
        else:
            ends[length], end_uids[length] = places[uid], uid
    staying: set[str] = set()
    at = end_uids[-1] if end_uids else None
    while at is not None:
        staying.add(at)
        at = previous[at]
    return staying


def diff_runs(old: RunsState, new: RunsState) -> Iterator[Change]:
    """`run_opened` and `run_closed`."""
    for uid, run in old.runs.items():
        if run.get("is_open") and uid not in new.runs:
            yield Change("run_closed", {"run": {**run, "is_open": False}})
    for uid, run in new.runs.items():
        before = old.runs.get(uid)
        if before is None:
            yield Change("run_opened", {"run": run})
        if not run.get("is_open") and (before is None or before.get("is_open")):
            yield Change("run_closed", {"run": run})
