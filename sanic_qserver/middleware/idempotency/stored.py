"""Where the answers to calls with an `Idempotency-Key` are kept: in this process, or nowhere."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from enum import StrEnum
from time import monotonic
from typing import Protocol

from msgspec import Struct, field

from sanic_qserver.config.settings import IdempotencyConfig
from sanic_qserver.errors import BadArguments, Overloaded

WAIT_S = 60.0  # For the first call with the same key to end.


class State(StrEnum):
    """How far the first call with a key has come."""

    RUNNING = "running"
    DONE = "done"
    UNKNOWN = "unknown"


class Kept(Struct, frozen=True, kw_only=True):
    """What is known of a key."""

    state: State
    fingerprint: str
    body: bytes = b""
    status: int = 200
    content_type: str = ""
    headers: dict[str, str] = field(default_factory=dict)


class KeptAnswers(Protocol):
    """A store of answers by key."""

    async def claim(self, key: str, fingerprint: str) -> Kept | None:
        """None: the key is new, and now the caller's. Else what is known; waits while the first call is running.

        Raises Overloaded when no more keys can be kept.
        """
        ...

    async def keep(self, key: str, kept: Kept) -> None:
        """Keep the answer of a claimed key."""
        ...

    async def release(self, key: str) -> None:
        """Forget a claimed key: nothing was done."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class MemoryAnswers:
    """Answers of one process. Bounded: the oldest finished ones go first, running ones never."""

    def __init__(self, config: IdempotencyConfig, clock: Callable[[], float] = monotonic) -> None:
        self._keep_s = config.keep_s
        self._max_keys = config.max_keys
        self._max_bytes = config.max_bytes
        self._clock = clock
        self._bytes = 0
        self._kept: OrderedDict[str, tuple[Kept, float]] = OrderedDict()
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}

    async def claim(self, key: str, fingerprint: str) -> Kept | None:
        """See KeptAnswers."""
        until = self._clock() + WAIT_S
        while (known := self._known(key)) is not None:
            if known.state is not State.RUNNING or known.fingerprint != fingerprint or self._clock() >= until:
                return known
            ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(key, []).append(ended)
            await asyncio.wait((ended,), timeout=until - self._clock())
        self._make_room()
        self._kept[key] = Kept(state=State.RUNNING, fingerprint=fingerprint), self._clock() + self._keep_s
        return None

    async def keep(self, key: str, kept: Kept) -> None:
        """See KeptAnswers."""
        self._kept[key] = kept, self._clock() + self._keep_s
        self._kept.move_to_end(key)
        self._bytes += len(kept.body)
        self._wake(key)
        while self._bytes > self._max_bytes and self._drop_oldest():
            pass

    async def release(self, key: str) -> None:
        """See KeptAnswers."""
        self._kept.pop(key, None)
        self._wake(key)

    async def close(self) -> None:
        """Nothing to let go of."""

    def _known(self, key: str) -> Kept | None:
        found = self._kept.get(key)
        if found is None:
            return None
        if found[0].state is not State.RUNNING and self._clock() >= found[1]:
            self._drop(key)
            return None
        return found[0]

    def _make_room(self) -> None:
        now = self._clock()
        while self._kept and (oldest := next(iter(self._kept.items())))[1][1] <= now:
            if oldest[1][0].state is State.RUNNING:
                break
            self._drop(oldest[0])
        if len(self._kept) >= self._max_keys and not self._drop_oldest():
            raise Overloaded("Too many calls with an Idempotency-Key are running", headers={"Retry-After": "1"})

    def _drop_oldest(self) -> bool:
        for key, (kept, _) in self._kept.items():
            if kept.state is not State.RUNNING:
                self._drop(key)
                return True
        return False

    def _drop(self, key: str) -> None:
        self._bytes -= len(self._kept.pop(key)[0].body)

    def _wake(self, key: str) -> None:
        for waiting in self._waiting.pop(key, ()):
            if not waiting.done():
                waiting.set_result(None)


class NoAnswers:
    """What several workers without a common store have: a promise that could not be held is not made."""

    async def claim(self, key: str, fingerprint: str) -> Kept | None:
        """Refuse."""
        del key, fingerprint
        raise BadArguments("Idempotency-Key: this server has several workers and no [idempotency] store in Redis")

    async def keep(self, key: str, kept: Kept) -> None:
        """Never called: nothing is claimed."""

    async def release(self, key: str) -> None:
        """Never called: nothing is claimed."""

    async def close(self) -> None:
        """Nothing to let go of."""
