"""The way of one request: when it passed what, and the calls to RE Manager that it has waited for.

It is found through a context variable, so that nothing has to be handed down to whoever makes a call. Where neither
slow requests nor traces are wanted it is not there. Times are those of `perf_counter()`, in seconds.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from time import perf_counter
from typing import Any, NamedTuple


class CallTimes(NamedTuple):
    """One call to RE Manager: queued, sent (0: it was not), answered. `is_shared`: several requests waited for it."""

    method: str
    queued_at: float
    sent_at: float
    answered_at: float
    is_shared: bool


_NO_HEADERS: Mapping[str, str] = {}


class Timeline:
    """One request. `admitted_at`, `read_at`: when gate and body were done; 0 until then.

    `is_waiting`: it was asked to wait for something. `span`, `began_ns`, `trace_id` and `headers` (for the response)
    are those of its trace, where there is one.
    """

    __slots__ = ("_calls", "admitted_at", "began_ns", "headers", "is_over", "is_waiting", "read_at", "span",
                 "started_at", "trace_id")  # fmt: skip

    def __init__(self) -> None:
        self.started_at = perf_counter()
        self.admitted_at = self.read_at = 0.0
        self.is_over = self.is_waiting = False
        self.began_ns, self.trace_id, self.headers = 0, "", _NO_HEADERS
        self.span: Any = None
        self._calls: list[Any] | None = None

    def note(self, call: Any) -> None:
        """It waits for this call, or for the one that will be the attribute `call` of this."""
        if self._calls is None:
            self._calls = []
        if not self.is_over:  # A task that the request has started lives on, and calls for itself.
            self._calls.append(call)

    def calls(self, now: float) -> list[CallTimes]:
        """The calls that it has waited for. One without an answer is taken as answered `now`."""
        found = []
        for one in self._calls or ():
            is_shared = hasattr(one, "call")
            call = one.call if is_shared else one
            if call is not None:
                queued_at = max(call.queued_at, self.started_at)
                answered_at = min(call.answered_at or now, now)
                found.append(CallTimes(call.method, queued_at, call.began_at, answered_at, is_shared))
        return found

    def to_ns(self, at: float) -> int:
        """A time of this request as one of the clock of the day, in nanoseconds since 1970."""
        return self.began_ns + int((at - self.started_at) * 1e9)


TIMELINE: ContextVar[Timeline | None] = ContextVar("timeline", default=None)


def find_trace_id() -> str:
    """The id of the trace that the request which is served belongs to; "" without one."""
    timeline = TIMELINE.get()
    return "" if timeline is None or timeline.is_over else timeline.trace_id


def mark_waiting() -> None:
    """The request that is served was asked to wait: it is not slow when it does."""
    if (timeline := TIMELINE.get()) is not None:
        timeline.is_waiting = True
