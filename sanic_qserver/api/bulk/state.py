"""The state of bulk submissions: after a broken connection a client continues where it was.

Kept in this process; with replicas in the Redis that they share (`shared.py`).
"""

import asyncio
import secrets
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from time import monotonic
from typing import Protocol

import msgspec

from sanic_qserver.errors import Conflict, NotFound

MOST_OF_ONE = 16
KEEP_S = 3600.0
MOST_STREAMS = 64
MOST_RESULT_BYTES = 2_000_000  # Some 15,000 results: more than what fits into the buffers of a connection.


class StreamTaken(Conflict):
    """Another connection goes on with the stream, or it was forgotten: this one is at its end."""

    code = "stream_taken"


Doubt = Callable[[], "list[tuple[bytes, bytes]]"]


class Bulk:
    """One submission: how many lines were decided, and the last results."""

    def __init__(self, token: str, fairness_key: str) -> None:
        self.token = token
        self.fairness_key = fairness_key
        self.key: tuple[str, str] | None = None
        self.decided = 0
        self.added = 0
        self.used_at = 0.0
        self.owner: object = None
        self.deciding: asyncio.Future[list[bytes]] | None = None
        self.results: deque[tuple[bytes, bytes]] = deque()
        self._bytes = 0

    def take_over(self) -> object:
        """Become the connection that feeds it. An earlier one stops at its next batch."""
        self.owner = object()
        return self.owner

    def sending(self, doubt: Doubt) -> AbstractAsyncContextManager[None]:  # noqa: ARG002  # it dies with this process
        """Context of a batch that goes to RE Manager. `doubt`: the results of its lines if this process dies in it."""
        return nullcontext()

    async def keep(self) -> None:
        """Store what was decided, so that another replica can go on from there."""

    def decide(self, digest: bytes, result: bytes, *, is_added: bool) -> None:
        """Keep the result of the next line."""
        self.decided += 1
        self.added += is_added
        self.results.append((digest, result))
        self._bytes += len(result)
        while self._bytes > MOST_RESULT_BYTES:
            self._bytes -= len(self.results.popleft()[1])

    def result(self, line: int, digest: bytes) -> bytes:
        """The result of a line that was decided before."""
        at = line - (self.decided - len(self.results))
        if at < 0:
            told = {"success": None, "msg": "This line was decided before; its result is no longer kept"}
            return msgspec.json.encode({**told, "code": "result_dropped", "line": line})
        known, result = self.results[at]
        if known != digest:
            told = {"success": None, "msg": "Another text was decided before under this line number; this one was not"}
            return msgspec.json.encode({**told, "code": "line_differs", "line": line})
        return result


class Bulks(Protocol):
    """The submissions, by token. `fairness_key` names the principal whose they are."""

    async def begin(self, fairness_key: str) -> Bulk:
        """A new submission of a principal."""
        ...

    async def mark(self, key: tuple[str, str], token: str) -> None:
        """Let a submission be found by an `Idempotency-Key` (with its owner's name before it)."""
        ...

    async def find(self, key: tuple[str, str]) -> str | None:
        """The token of the submission that began with this key."""
        ...

    async def resume(self, token: str, fairness_key: str) -> Bulk:
        """One that was begun by the same principal, when what was under way is decided. Raises NotFound."""
        ...


class MemoryBulks:
    """The submissions of this process: bounded, and forgotten an hour after their last use."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._bulks: OrderedDict[str, Bulk] = OrderedDict()

    async def begin(self, fairness_key: str) -> Bulk:
        """See Bulks."""
        self._forget_old()
        self._make_room(fairness_key)
        bulk = Bulk(secrets.token_urlsafe(16), fairness_key)
        bulk.used_at = self._clock()
        self._bulks[bulk.token] = bulk
        return bulk

    async def mark(self, key: tuple[str, str], token: str) -> None:
        """See Bulks."""
        self._bulks[token].key = key

    async def find(self, key: tuple[str, str]) -> str | None:
        """See Bulks."""
        self._forget_old()
        return next((bulk.token for bulk in self._bulks.values() if bulk.key == key), None)

    async def resume(self, token: str, fairness_key: str) -> Bulk:
        """See Bulks."""
        self._forget_old()
        bulk = self._bulks.get(token)
        if bulk is None or bulk.fairness_key != fairness_key:
            raise not_found()
        bulk.used_at = self._clock()
        self._bulks.move_to_end(token)
        bulk.take_over()
        if bulk.deciding is not None:
            await asyncio.wait((bulk.deciding,))
        return bulk

    def _forget_old(self) -> None:
        now = self._clock()
        while self._bulks and now - (oldest := next(iter(self._bulks.values()))).used_at >= KEEP_S:
            del self._bulks[oldest.token]

    def _make_room(self, fairness_key: str) -> None:
        """Whoever has most gives up their oldest; a principal with their share of streams, one of their own."""
        counts = Counter(bulk.fairness_key for bulk in self._bulks.values())
        name = fairness_key if counts[fairness_key] >= MOST_OF_ONE else ""
        if not name and len(self._bulks) >= MOST_STREAMS:
            name = counts.most_common(1)[0][0]
        if name:
            own = [bulk for bulk in self._bulks.values() if bulk.fairness_key == name]
            del self._bulks[min(own, key=lambda bulk: (bulk.decided > 0, bulk.used_at)).token]


def not_found() -> NotFound:
    """It was never there, is another principal's, or forgotten."""
    return NotFound("resume: there is no such stream of yours (kept for an hour after its last use)")
