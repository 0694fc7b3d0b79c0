"""One call on its way to RE Manager, and the interface of the line in which calls wait."""

import asyncio
from collections.abc import Hashable, Sequence
from typing import Any, Protocol

from msgspec import Raw

from sanic_qserver.errors import GatewayError
from sanic_qserver.manager.client.methods import READS

Submission = tuple[Raw, Any, Any]


class Entry:
    """One call: waiting, then in flight, then settled.

    `lane` names who asks: calls of one lane keep their order. `fold` marks an add that may go together with
    neighbours of the same mark; then `submission` is its encoded item, user and user group. `timer` is the deadline
    of the present stage. `is_shared`: callers of several lanes wait for its answer.
    """

    __slots__ = ("deadline_s", "fold", "future", "id", "is_dead", "is_read", "is_shared", "lane", "method", "payload",
                 "sent_at", "submission", "timer")  # fmt: skip

    def __init__(
        self, method: str, payload: bytes, deadline_s: float, future: "asyncio.Future[bytes]", lane: str = ""
    ) -> None:
        self.id = b""
        self.method = method
        self.is_read = method in READS
        self.payload = payload
        self.deadline_s = deadline_s
        self.future = future
        self.lane = lane
        self.fold: Hashable = None
        self.submission: Submission | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.sent_at = 0.0
        self.is_dead = False
        self.is_shared = False

    @property
    def is_settled(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.future.done()

    def answer(self, reply: bytes) -> "Sequence[Entry]":
        """Hand the reply to whoever waits. Returns the calls that have to be sent again because of it."""
        self.future.set_result(reply)
        return ()

    def fail(self, error: GatewayError) -> None:
        """Hand the failure to whoever waits."""
        if not self.future.done():
            self.future.set_exception(error)

    @property
    def parts(self) -> "Sequence[Entry]":
        """The calls that this one is made of: itself."""
        return (self,)

    def end_timer(self) -> None:
        """Stop the deadline of the present stage."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class Waiting(Protocol):
    """The order in which waiting calls are sent."""

    def __len__(self) -> int: ...
    @property
    def has_readers(self) -> bool:
        """Whether somebody reads, now or a moment ago, and would wait behind a long write."""
        ...

    def append(self, entry: Entry, /) -> None:
        """Put a call at the end of its line."""
        ...

    def appendleft(self, entry: Entry, /) -> None:
        """Put a call back that could not be sent yet, or has to be sent again."""
        ...

    def popleft(self) -> Entry | None:
        """The call whose turn it is, now under way; None when none may go before another one is back."""
        ...

    def left(self, entry: Entry, /) -> None:
        """A call is no longer under way: what it held back may go."""
        ...

    def displace(self, lane: str, /) -> Entry | None:
        """Take out the newest call of whoever has most waiting, to make room for one of this lane.

        None when nobody has more than this lane has.
        """
        ...

    def drop(self, entry: Entry, /) -> None:
        """A waiting call was refused or given up: it no longer counts."""
        ...
