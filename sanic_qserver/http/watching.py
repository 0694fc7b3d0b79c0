"""Each request is watched: counted, and where it is wanted, logged when it is slow, and told as a trace."""

import asyncio
import logging
import math

from sanic import Request

from sanic_qserver.api.endpoint import Endpoint
from sanic_qserver.config.settings import Config
from sanic_qserver.http.metrics.measuring import Count, Metrics
from sanic_qserver.http.tracing import Tracing
from sanic_qserver.manager.client.timeline import TIMELINE, Timeline

log = logging.getLogger("sanic_qserver.slow")

_CLIENT_CLOSED = 499


class Watching:
    """Makes the watch of each row. `tracing` None: no traces."""

    def __init__(self, config: Config, metrics: Metrics, tracing: Tracing | None) -> None:
        self.slow_s = config.log.slow_request_s or math.inf
        self.metrics = metrics
        self.tracing = tracing

    def of(self, row: Endpoint) -> "Watch":
        """The watch of a row."""
        return Watch(self, row)


class Watch:
    """Watches the requests of one row: `begin`, and then `end` or `fail`."""

    __slots__ = ("_count", "_has_timeline", "_row", "_slow_s", "_tracing")

    def __init__(self, watching: Watching, row: Endpoint) -> None:
        self._count: Count = watching.metrics.of(row)
        self._row = row
        self._slow_s = watching.slow_s
        self._tracing = watching.tracing
        self._has_timeline = self._tracing is not None or not math.isinf(self._slow_s)

    def begin(self, request: Request) -> Timeline:
        """A request has come."""
        timeline = Timeline()
        if self._has_timeline:
            TIMELINE.set(timeline)
            if self._tracing is not None:
                self._tracing.begin(timeline, request, self._row)
        return timeline

    def end(self, timeline: Timeline, request: Request, status: int) -> None:
        """It is answered."""
        taken_s = self._count(status, timeline.started_at)
        timeline.is_over = True
        if self._tracing is not None:
            self._tracing.end(timeline, request, status, timeline.started_at + taken_s)
        if taken_s >= self._slow_s and not timeline.is_waiting:
            tell_slow(request, status, timeline, taken_s)

    def fail(self, timeline: Timeline, request: Request, error: BaseException) -> None:
        """It ended without an answer from its row: the client left, it took too long, or something unforeseen."""
        status = 500
        if isinstance(error, asyncio.CancelledError):  # With a reason it was cancelled here.
            status = 503 if error.args else _CLIENT_CLOSED
        self.end(timeline, request, status)


def tell_slow(request: Request, status: int, timeline: Timeline, taken_s: float) -> None:
    """One line: where the time of a request went."""
    parts = split_time(timeline, taken_s)
    method, path = request.method, request.path
    told = ", ".join(f"{name} {seconds:.3f}" for name, seconds in parts.items())
    calls = [call.method for call in timeline.calls(timeline.started_at + taken_s)]
    facts = {"method": method, "path": path, "status": status, "seconds": round(taken_s, 3), "calls": calls}
    facts |= {f"{name.replace(' ', '_').lower()}_s": round(seconds, 3) for name, seconds in parts.items()}
    asked = f" ({', '.join(calls)})" if calls else ""
    log.warning(
        "%s %s -> %d took %.3f s: %s%s", method, path, status, taken_s, told, asked, extra={"facts": {"slow": facts}}
    )


def split_time(timeline: Timeline, taken_s: float) -> dict[str, float]:
    """Where the time went, in seconds. Calls that were under way at the same time count once."""
    ended_at = timeline.started_at + taken_s
    admitted_at = timeline.admitted_at or ended_at
    read_at = timeline.read_at or admitted_at
    waits, works = [], []
    for call in timeline.calls(ended_at):
        sent_at = call.sent_at or call.answered_at
        waits.append((call.queued_at, max(call.queued_at, sent_at)))
        works.append((max(sent_at, timeline.started_at), call.answered_at))
    manager_s, busy_s = _cover(works), _cover(waits + works)
    parts = {"gate": admitted_at - timeline.started_at, "body": read_at - admitted_at, "queue wait": busy_s - manager_s,
             "RE Manager": manager_s}  # fmt: skip
    return {**parts, "other": max(0.0, taken_s - sum(parts.values()))}


def _cover(spans: list[tuple[float, float]]) -> float:
    """The time that is covered by any of these."""
    covered, until = 0.0, -math.inf
    for start, end in sorted(spans):
        covered += max(0.0, end - max(start, until))
        until = max(until, end)
    return covered
