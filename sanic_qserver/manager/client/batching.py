"""Group commit: single adds that wait next to each other go to RE Manager as one batch, and nobody can tell.

Facts of RE Manager 0.0.25 that this rests on (each tested against it):
- a batch holds the queue's lock: its items stand next to each other, in order, so that the queue size after
  item i of n is the size after the batch minus n - 1 - i;
- one bad item rejects the whole batch and nothing is added; `results` tells which ones were bad, in the words of
  the single call except for the beginning, and the item is echoed;
- a batch that is refused as a whole (unknown group, lock) has no `results`: then its adds are sent one by one.

A lost batch is unknown for every add in it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from sanic_qserver.errors import GatewayError, ManagerLost
from sanic_qserver.manager.client.call import Entry

SINGLE = "queue_item_add"
BATCH = "queue_item_add_batch"
_BAD_IN_BATCH = "Failed to add a plan: "
_BAD_ALONE = "Failed to add an item: "


class _Result(Struct):
    success: bool
    msg: str = ""


class _Reply(Struct):
    success: bool
    msg: str = ""
    qsize: int | None = None
    items: list[Raw] = []
    results: list[_Result] = []


_decode = msgspec.json.Decoder(_Reply).decode


class Batch(Entry):
    """Several adds under way as one call. Its own future is never awaited; its members' are."""

    __slots__ = ("members",)

    def __init__(self, members: Sequence[Entry], payload: bytes) -> None:
        first = members[0]
        super().__init__(SINGLE, payload, first.deadline_s, first.future, first.lane)
        self.members = members

    @property
    def parts(self) -> Sequence[Entry]:
        """The single adds."""
        return self.members

    @property
    def is_settled(self) -> bool:
        """Whether nobody waits for any of it."""
        return all(member.future.done() for member in self.members)

    def answer(self, reply: bytes) -> Sequence[Entry]:
        """Give each member the reply that it would have got alone; those that have to be sent again are returned."""
        decided, count = _decided(reply), len(self.members)
        if decided is None or (decided.success and (len(decided.items) != count or decided.qsize is None)):
            self.fail(ManagerLost("RE Manager's answer to a batch cannot be read. The outcome is unknown"))
            return ()
        if decided.success and decided.qsize is not None:
            for number, (member, item) in enumerate(zip(self.members, decided.items, strict=True)):
                qsize = decided.qsize - (count - 1 - number)
                _settle(member, {"success": True, "msg": "", "qsize": qsize, "item": item})
            return ()
        return self._without_bad_ones(decided)

    def _without_bad_ones(self, decided: _Reply) -> Sequence[Entry]:
        again: list[Entry] = []
        is_told_apart = not decided.success and len(decided.results) == len(decided.items) == len(self.members)
        for number, member in enumerate(self.members):
            result = decided.results[number] if is_told_apart else None
            if result is not None and not result.success and result.msg.startswith(_BAD_IN_BATCH):
                msg = _BAD_ALONE + result.msg.removeprefix(_BAD_IN_BATCH)
                _settle(member, {"success": False, "msg": msg, "qsize": None, "item": decided.items[number]})
            elif not member.future.done():
                # The good ones go together once more, among themselves; after that, or in doubt, one by one.
                is_good = result is not None and result.success and not isinstance(member.fold, _Again)
                member.fold = _Again(self) if is_good else None
                again.append(member)
        return again

    def fail(self, error: GatewayError) -> None:
        """The same for every member, in the words of the single call."""
        for member in self.members:
            if not member.future.done():
                member.future.set_exception(copy_of(error))

    def end_timer(self) -> None:
        """Stop the batch's deadline and its members' waiting."""
        super().end_timer()
        for member in self.members:
            member.end_timer()


class _Again:
    """The mark of adds that are sent for the second time: they go together with none but each other."""

    __slots__ = ("batch",)

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Again) and other.batch is self.batch

    def __hash__(self) -> int:
        return id(self.batch)


def folder(encode: Callable[[Any], bytes]) -> Callable[[Sequence[Entry]], Entry]:
    """What makes one batch of several adds of the same user and group."""

    def fold(members: Sequence[Entry]) -> Entry:
        submissions = [member.submission for member in members if member.submission is not None]
        _, user, user_group = submissions[0]
        params = {"items": [item for item, _, _ in submissions], "user": user, "user_group": user_group}
        return Batch(members, encode({"method": BATCH, "params": params}))

    return fold


def copy_of(error: GatewayError) -> GatewayError:
    """The same for one more caller: an exception that is raised in several tasks gathers their tracebacks."""
    return type(error)(error.detail, headers=error.headers, extra=error.extra)


def _settle(member: Entry, reply: dict[str, Any]) -> None:
    if not member.future.done():
        member.future.set_result(msgspec.json.encode(reply))


def _decided(reply: bytes) -> _Reply | None:
    """None for what is no answer to a batch: sending again would be a guess."""
    try:
        return _decode(reply)
    except msgspec.DecodeError:
        return None
