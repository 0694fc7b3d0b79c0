"""One call on its way to RE Manager, and the interface of the queue in which calls wait."""

import asyncio
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter
from typing import Any, Protocol

from msgspec import Raw

from sanic_qserver.errors import GatewayError
from sanic_qserver.manager.client.methods import READS

Submission = tuple[Raw, Any, Any]


class Sending:
    """What was sent for one call of a client, which must not be sent twice.

    `writes` counts what went to RE Manager and may have changed something, `unanswered` what of that is not answered.
    `may_send` says whether anything may be sent still. `since`: when the client asked for the first time (then it was
    refused), on the loop's clock.
    """

    __slots__ = ("may_send", "since", "unanswered", "writes")

    def __init__(self, may_send: Callable[[], bool], since: float | None = None) -> None:
        self.may_send = may_send
        self.since = since
        self.writes = 0
        self.unanswered = 0


SENDING: ContextVar[Sending | None] = ContextVar("sending", default=None)


@contextmanager
def sending_while(may_send: Callable[[], bool]) -> Iterator[Sending]:
    """What is written inside is sent only while `may_send` says so: it is asked when the call goes onto the socket."""
    outer = SENDING.get()
    if outer is None:
        sending = Sending(may_send)
        before = SENDING.set(sending)
        try:
            yield sending
        finally:
            SENDING.reset(before)
        return
    may_send_outside = outer.may_send
    outer.may_send = lambda: may_send_outside() and may_send()
    try:
        yield outer
    finally:
        outer.may_send = may_send_outside


class QueuedCall:
    """One call: waiting, then in flight, then settled.

    `fairness_key` names the caller: calls with the same key keep their order, different keys take turns. Neighbouring
    adds with the same `batch_key` may be batched; `submission` is then the encoded item, user and user group. `timer`
    is the deadline of the current stage. `is_shared`: callers with different fairness keys wait for the reply.
    `sent_at` is on the loop's clock; `queued_at`, `began_at` (sent) and `answered_at` are for timelines.
    """

    __slots__ = ("answered_at", "batch_key", "began_at", "deadline_s", "fairness_key", "future", "id", "is_dead",
                 "is_queued", "is_read", "is_shared", "method", "payload", "queued_at", "sending", "sent_at",
                 "submission", "timer")  # fmt: skip

    def __init__(
        self, method: str, payload: bytes, deadline_s: float, future: "asyncio.Future[bytes]", fairness_key: str = ""
    ) -> None:
        self.id = b""
        self.method = method
        self.is_read = method in READS
        self.payload = payload
        self.deadline_s = deadline_s
        self.future = future
        self.fairness_key = fairness_key
        self.batch_key: Hashable = None
        self.submission: Submission | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.sent_at = 0.0
        self.is_dead = False
        self.is_queued = False
        self.is_shared = False
        self.sending = None if self.is_read else SENDING.get()
        self.queued_at = perf_counter()
        self.began_at = self.answered_at = 0.0

    @property
    def is_void(self) -> bool:
        """Whether it must not be sent any more: its caller may have been told that the outcome is unknown."""
        return self.sending is not None and not self.sending.may_send()

    def mark_sent(self, now: float) -> None:
        """It is on the socket."""
        self.sent_at = now
        self.began_at = perf_counter()
        if self.sending is not None:
            self.sending.writes += 1
            self.sending.unanswered += 1

    def mark_answered(self) -> None:
        """RE Manager has done it, whether or not somebody still waits."""
        if self.sending is not None:
            self.sending.unanswered -= 1

    @property
    def is_settled(self) -> bool:
        """Whether the caller has a reply, an error, or has given up."""
        return self.future.done()

    def answer(self, reply: bytes) -> "Sequence[QueuedCall]":
        """Give the caller the reply. Returns the calls that must be sent again because of it."""
        self.future.set_result(reply)
        return ()

    def fail(self, error: GatewayError) -> None:
        """Give the caller the error."""
        if not self.future.done():
            self.future.set_exception(error)

    @property
    def parts(self) -> "Sequence[QueuedCall]":
        """The calls that this one consists of: itself, unless it is a batch."""
        return (self,)

    def end_timer(self) -> None:
        """Cancel the deadline of the current stage."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class CallQueue(Protocol):
    """Calls that were not sent yet, in the order in which they will be."""

    def __len__(self) -> int: ...
    @property
    def has_readers(self) -> bool:
        """Whether somebody reads, now or a moment ago, and would wait behind a long write."""
        ...

    def append(self, call: QueuedCall, /) -> None:
        """Queue a call behind the others of its caller."""
        ...

    def appendleft(self, call: QueuedCall, /) -> None:
        """Put back a call that could not be sent yet, or must be sent again."""
        ...

    def popleft(self) -> QueuedCall | None:
        """The next call to send; None when all must wait for one that is in flight."""
        ...

    def left(self, call: QueuedCall, /) -> None:
        """A call is no longer in flight: those that waited for it may be sent."""
        ...

    def displace(self, fairness_key: str, /) -> QueuedCall | None:
        """Remove the newest call of the caller with most calls queued, to make room for one with this fairness key.

        None when no other caller has more.
        """
        ...

    def displace_newer(self, fairness_key: str, /) -> QueuedCall | None:
        """Take out the caller's newest write, to make room for one that was refused before; None: there is none."""
        ...

    def drop(self, call: QueuedCall, /) -> None:
        """Remove a queued call that was refused or given up."""
        ...
