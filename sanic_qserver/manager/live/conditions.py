"""Waiting for a state of RE Manager: each status is checked once for all who wait for the same condition.

The conditions:
- `idle`, `paused`: the manager's state. Between two plans of a running queue it is not idle.
- `environment_open`, `environment_closed`: the worker's environment; opening has ended, well or not, before `idle`.
- `queue_empty`: no items, and none running.
- `item_finished:<uid>`: the item is in the history, however it ended.
- `changed:<status_uid>`: the status is not this one any more.
- `<member>=<value>`: a member of the status has this value (`re_state=paused`), as JSON or as text.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from sanic_qserver.errors import BadArguments, NotFound
from sanic_qserver.manager.live.status_feed import Snapshot, StatusFeed

Check = Callable[[dict[str, Any]], bool]

_NAMED: dict[str, Check] = {
    "idle": lambda status: status.get("manager_state") == "idle",
    "paused": lambda status: status.get("manager_state") == "paused",
    "environment_open": lambda status: (
        bool(status.get("worker_environment_exists"))
        and status.get("worker_environment_state") not in ("initializing", "closing")
    ),
    "environment_closed": lambda status: (
        not status.get("worker_environment_exists") and status.get("worker_environment_state") == "closed"
    ),
    "queue_empty": lambda status: not status.get("items_in_queue") and not status.get("running_item_uid"),
}
_MEMBER = re.compile(r"(?P<name>\w+)=(?P<value>.*)", re.DOTALL).fullmatch
ITEM = "item_finished:"
_CHANGED = "changed:"


class Items(Protocol):
    """Knows which items there are, while somebody asks."""

    async def follow_items(self) -> Callable[[], None]:
        """From now on it is known which items are queued and which have finished. Returns what ends it."""
        ...

    def has_finished(self, uid: str) -> bool:
        """Whether an item is in the history."""
        ...

    def knows_item(self, uid: str) -> bool:
        """Whether an item is in the queue, runs, or is in the history."""
        ...

    def on_look(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` when items may have changed. Returns the function that ends it."""
        ...


@dataclass(eq=False)
class _Group:
    """Callers who wait for the same condition."""

    check: Check
    futures: set["asyncio.Future[Snapshot]"] = field(default_factory=set)


class Waits:
    """Waits for conditions of the status. One per application."""

    def __init__(self, status: StatusFeed, items: Items) -> None:
        self._status = status
        self._items = items
        self._groups: dict[str, _Group] = {}

    @property
    def count(self) -> int:
        """How many callers wait."""
        return sum(len(group.futures) for group in self._groups.values())

    def end(self) -> None:
        """Let nobody wait any longer, as if their time were over: the server stops."""
        for group in self._groups.values():
            for future in group.futures:
                if not future.done():
                    future.set_exception(TimeoutError())

    async def until(self, condition: str, timeout_s: float) -> Snapshot | None:
        """The status that met the condition; None when none did in time.

        Raises BadArguments for a condition that is none, and NotFound for an item that is nowhere.
        """
        if condition.startswith(ITEM):
            return await self._until_finished(condition, condition.removeprefix(ITEM), timeout_s)
        return await self._until(condition, parse_condition(condition), timeout_s)

    async def _until_finished(self, condition: str, uid: str, timeout_s: float) -> Snapshot | None:
        items = self._items
        end_items = await items.follow_items()
        end_looks = items.on_look(self._look)
        try:
            if not items.knows_item(uid) and self._status.current is not None:
                raise NotFound(f"wait_for: there is no item with uid '{uid}': not in the queue, not in the history")
            return await self._until(condition, lambda _: items.has_finished(uid), timeout_s)
        finally:
            end_looks()
            end_items()

    async def _until(self, condition: str, check: Check, timeout_s: float) -> Snapshot | None:
        end = self._status.follow(self._on_status)
        group = self._groups.setdefault(condition, _Group(check))
        future: asyncio.Future[Snapshot] = asyncio.get_running_loop().create_future()
        group.futures.add(future)
        try:
            async with asyncio.timeout(timeout_s):
                # Asked for now: a status from before the caller's own last call must not count.
                snapshot = await self._status.look()
                if snapshot is not None and check(snapshot.values):
                    return snapshot
                return await future
        except TimeoutError:
            return None
        finally:
            group.futures.discard(future)
            if not group.futures and self._groups.get(condition) is group:
                del self._groups[condition]
            end()

    def _look(self) -> None:
        self._on_status(self._status.current)

    def _on_status(self, snapshot: Snapshot | None) -> None:
        if snapshot is None:
            return
        for group in tuple(self._groups.values()):
            if group.check(snapshot.values):
                for future in group.futures:
                    if not future.done():
                        future.set_result(snapshot)


def parse_condition(condition: str) -> Check:
    """The check for a condition of the status. Raises BadArguments."""
    if (named := _NAMED.get(condition)) is not None:
        return named
    if condition.startswith(_CHANGED):
        uid = condition.removeprefix(_CHANGED)
        return lambda status: status.get("status_uid") != uid
    if (match := _MEMBER(condition)) is not None:
        return _member_is(match["name"], match["value"])
    choices = [*_NAMED, f"{ITEM}<uid>", f"{_CHANGED}<status_uid>", "<member>=<value>"]
    raise BadArguments(f"wait_for: give one of {', '.join(choices)}", extra={"field": "wait_for"})


def _member_is(name: str, text: str) -> Check:
    try:
        value = msgspec.json.decode(text)
    except msgspec.MsgspecError:
        value = text
    return lambda status: name in status and status[name] in (value, text) and type(status[name]) in (type(value), str)
