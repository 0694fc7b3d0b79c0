"""Batching of submissions: single adds that wait next to each other go to RE Manager as one batch, invisibly.

Facts of RE Manager 0.0.25 that this rests on (each tested against it):
- a batch holds the queue's lock: its items stand next to each other, in order, so that the queue size after
  item i of n is the size after the batch minus n - 1 - i;
- one bad item rejects the whole batch; `results` tells which ones were bad, in the words of the single call except
  for the beginning, and the item is echoed;
- only a failed validation proves that nothing was added (`manager/outcomes.py` lists the ways to fail): then, and
  only then, the good ones are sent again. Any other failure is told to every add in the batch, with
  `outcome: unknown` where a part may have been added.

A lost batch is unknown for every add in it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from sanic_qserver.errors import GatewayError, ManagerLost
from sanic_qserver.manager.client.call import QueuedCall
from sanic_qserver.manager.outcomes import BatchReply, Verdict, judge, mark_unknown, read_batch

SINGLE = "queue_item_add"
BATCH = "queue_item_add_batch"
_ITEM_IS_ECHOED = "Failed to add an item: Unknown user group"


class Batch(QueuedCall):
    """Several adds in flight as one call. Its own future is never awaited; its members' are."""

    __slots__ = ("_to_json", "members")

    def __init__(
        self, members: Sequence[QueuedCall], payload: bytes, to_json: Callable[[bytes], bytes] = bytes
    ) -> None:
        first = members[0]
        super().__init__(SINGLE, payload, first.deadline_s, first.future, first.fairness_key)
        self.members = members
        self._to_json = to_json
        self.sending = None  # Its members have their own.

    @property
    def parts(self) -> Sequence[QueuedCall]:
        """The single adds."""
        return self.members

    @property
    def is_settled(self) -> bool:
        """Whether no caller waits for any of it."""
        return all(member.future.done() for member in self.members)

    @property
    def is_void(self) -> bool:
        """Whether a member must not be sent any more."""
        return any(member.is_void for member in self.members)

    def answer(self, reply: bytes) -> Sequence[QueuedCall]:
        """Give each member the reply that it would have got alone; those that have to be sent again are returned."""
        read = read_batch(reply)
        if read is None:
            self.fail(ManagerLost("RE Manager's answer to a batch cannot be read. The outcome is unknown"))
            return ()
        verdict = judge(read, len(self.members))
        if verdict is Verdict.NOT_VALID:
            return self._without_bad_ones(read)
        for number, member in enumerate(self.members):
            told = self._told(read, number, verdict)
            encoded = msgspec.json.encode(told)
            _settle(member, mark_unknown(encoded) if verdict is Verdict.UNKNOWN else encoded)
        return ()

    def _told(self, read: BatchReply, number: int, verdict: Verdict) -> dict[str, Any]:
        """What member `number` is told of a batch that was added whole, or failed as a whole."""
        if verdict is Verdict.ADDED and read.qsize is not None:
            qsize = read.qsize - (len(self.members) - 1 - number)
            return {"success": True, "msg": "", "qsize": qsize, "item": read.items[number]}
        is_told_apart = len(read.results) == len(read.items) == len(self.members)
        has_failed = is_told_apart and not read.results[number].success
        msg = read.results[number].msg_alone if has_failed else read.msg
        item = read.items[number] if is_told_apart else self._echo(number) if _ITEM_IS_ECHOED in read.msg else None
        return {"success": False, "msg": msg, "qsize": None, "item": item}

    def _echo(self, number: int) -> Raw | None:
        """The item as it was sent."""
        submission = self.members[number].submission
        return None if submission is None else Raw(self._to_json(bytes(submission[0])))

    def _without_bad_ones(self, read: BatchReply) -> Sequence[QueuedCall]:
        """Nothing was added: the bad ones are told, the good ones go once more."""
        again: list[QueuedCall] = []
        for number, member in enumerate(self.members):
            result = read.results[number]
            if not result.success:
                item = read.items[number] if number < len(read.items) else None
                told = {"success": False, "msg": result.msg_alone, "qsize": None, "item": item}
                _settle(member, msgspec.json.encode(told))
            elif not member.future.done():
                if member.sending is not None:
                    member.sending.writes -= 1  # It is proved that this did nothing.
                # Among themselves; after that one by one.
                member.batch_key = _Again(self) if not isinstance(member.batch_key, _Again) else None
                again.append(member)
        return again

    def fail(self, error: GatewayError) -> None:
        """The same for every member, in the words of the single call."""
        for member in self.members:
            if not member.future.done():
                member.future.set_exception(copy_error(error))

    def end_timer(self) -> None:
        """Stop the batch's deadline and its members' waiting."""
        super().end_timer()
        for member in self.members:
            member.end_timer()


class _Again:
    """The batch key of adds that are sent a second time: they are batched with each other only."""

    __slots__ = ("batch",)

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Again) and other.batch is self.batch

    def __hash__(self) -> int:
        return id(self.batch)


def make_batcher(
    encode: Callable[[Any], bytes], to_json: Callable[[bytes], bytes] = bytes
) -> Callable[[Sequence[QueuedCall]], QueuedCall]:
    """The function that makes one batch of several adds of the same user and group."""

    def make_batch(members: Sequence[QueuedCall]) -> QueuedCall:
        submissions = [member.submission for member in members if member.submission is not None]
        _, user, user_group = submissions[0]
        params = {"items": [item for item, _, _ in submissions], "user": user, "user_group": user_group}
        return Batch(members, encode({"method": BATCH, "params": params}), to_json)

    return make_batch


def copy_error(error: GatewayError) -> GatewayError:
    """The same error for one more caller: an exception raised in several tasks collects their tracebacks."""
    return type(error)(error.detail, headers=error.headers, extra=error.extra)


def _settle(member: QueuedCall, reply: bytes) -> None:
    if not member.future.done():
        member.future.set_result(reply)
