"""The states that replicas have in common: how they are stored, told to a subscriber, and taken up by a new follower.

Stored are the status and the lock as RE Manager sent them, the queue and the runs as subscribers get them, and of the
history what subscribers get and, apart from it, the uids of its items, which a new follower compares.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from sanic_qserver.manager.live.diff import (
    HistoryState,
    QueueState,
    RunsState,
    parse_lock,
    parse_queue,
    parse_runs,
    to_data,
)
from sanic_qserver.manager.live.state import UIDS, StateTracker
from sanic_qserver.manager.live.status_feed import Snapshot

AWAY = "away"  # "1" while RE Manager does not answer; the status is then the last one.
_UIDS = "history_uids"
TOLD = ("status", AWAY, "queue", "history", "runs", "lock")
"""What subscribers are told from."""
ALL = (*TOLD, _UIDS)

_encode = msgspec.json.encode
_decode = msgspec.json.decode
_TOPICS = {"status": ("status", *UIDS), "queue": ("queue",), "history": ("history",), "runs": ("runs",),
           "lock": ("lock",)}  # fmt: skip


class Look(NamedTuple):
    """What the follower knows at one moment. A part that is None is not known."""

    status: Snapshot | None
    queue: QueueState | None
    history: HistoryState | None
    runs: RunsState | None
    lock: dict[str, msgspec.Raw] | None


def store_part(name: str, part: Any) -> dict[str, bytes]:
    """A part of a look, as it is stored."""
    if isinstance(part, Snapshot):
        return {name: part.raw, AWAY: b""}
    if isinstance(part, HistoryState):
        return {name: _encode(to_data(part)), _UIDS: _encode([part.uid, list(part.items)])}
    return {name: _encode(part if isinstance(part, dict) else to_data(part))}


def topics_told_from(names: Iterable[str]) -> set[str]:
    """The topics whose state is known when these parts are."""
    return {topic for name in names for topic in _TOPICS.get(name, ())}


def snapshot_data(topic: str, bodies: Mapping[str, bytes]) -> Any:
    """The data of a snapshot; None when it is not known, or there is none."""
    if topic == "status" and bodies.get(AWAY):
        return None
    if topic in UIDS:
        status = _decode(bodies["status"]) if "status" in bodies else None
        return None if status is None else {name: status.get(name) for name in UIDS[topic]}
    return msgspec.Raw(bodies[topic]) if topic in bodies else None


def resume(tracker: StateTracker, bodies: Mapping[str, bytes]) -> Look:
    """Let a tracker go on from what is stored, as if it had looked itself. Gives what it was made to know."""
    status = bodies.get("status")
    snapshot = None if status is None else Snapshot(status, _decode(status))
    uid, uids = _decode(bodies[_UIDS]) if _UIDS in bodies else ("", ())
    look = Look(
        snapshot,
        parse_queue(bodies["queue"]) if "queue" in bodies else None,
        HistoryState(uid, dict.fromkeys(uids, msgspec.Raw(b"{}"))) if _UIDS in bodies else None,
        parse_runs(bodies["runs"]) if "runs" in bodies else None,
        parse_lock(bodies["lock"]) if "lock" in bodies else None,
    )
    tracker.resume(
        snapshot.values if snapshot else None, not bodies.get(AWAY), look.queue, look.history, look.runs, look.lock
    )
    return look
