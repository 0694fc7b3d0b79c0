"""Rate counters in this process's memory: a moving window that may over-count and never admits more than the limit.

A window is cut into 64 slots. A slot's units become free once the whole slot is older than the window: at most 1/64 of
a window later than with one time stamp a request, in bounded memory. The clock is monotonic, so that setting the
system clock neither empties a window nor fills it.
"""

import math
import time
from array import array
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

SLOTS = 64
_RING = SLOTS + 2  # The window, the slot that is being filled, and one for the rounding of the clock.
_NOTHING_TAKEN = bytes(8 * _RING)


class Charge(NamedTuple):
    """`cost` units to charge against one limit of `limit` units in `window_s` seconds, counted under `key`."""

    key: tuple[str, str]
    limit: int
    window_s: float
    cost: int


class LimitState(NamedTuple):
    """What is left of one limit, and the seconds until its oldest unit becomes free again."""

    remaining: int
    reset_s: float


class LimitExceeded(NamedTuple):
    """The limit that is exhausted: its index, and the seconds until the charge would fit (inf: it never will)."""

    which: int
    retry_s: float


class Counters(Protocol):
    """Charges several limits at once."""

    async def take(self, asked: Sequence[Charge]) -> LimitExceeded | list[LimitState]:
        """Charge every limit, if none is exhausted. Raises CountersUnavailable."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class CountersUnavailable(Exception):
    """The counters cannot be reached; nothing was charged."""


class _Window:
    """One limit for one caller: the units charged in each slot. `resets_at`: when the oldest slot becomes free.

    The slots are one array, allocated once. An object for each slot would fragment the heap, which then could not
    shrink after a burst of callers.
    """

    __slots__ = ("_at", "_newest", "_oldest", "_slot_ends_at", "_slot_s", "_taken", "resets_at", "total")

    def __init__(self, window_s: float) -> None:
        self._slot_s = window_s / SLOTS
        self._taken = array("q", _NOTHING_TAKEN)
        self._oldest = self._newest = self._at = 0
        self._slot_ends_at = -math.inf
        self.resets_at = math.inf
        self.total = 0

    def forget(self, now: float) -> None:
        """Drop what is older than the window."""
        while self.total and (free_at := (self._oldest + SLOTS + 1) * self._slot_s) <= now:
            self.total -= self._taken[self._oldest % _RING]
            self._taken[self._oldest % _RING] = 0
            self._oldest += 1
            while self.total and not self._taken[self._oldest % _RING]:
                self._oldest += 1
        self.resets_at = free_at if self.total else math.inf

    def add(self, now: float, cost: int) -> None:
        """Charge."""
        if now >= self._slot_ends_at:
            self._newest = int(now / self._slot_s)
            self._at = self._newest % _RING
            self._slot_ends_at = (self._newest + 1) * self._slot_s
        if not self.total:
            self._oldest = self._newest
            self.resets_at = (self._newest + SLOTS + 1) * self._slot_s
        self._taken[self._at] += cost
        self.total += cost

    def free_in_s(self, now: float, units: int) -> float:
        """Seconds until so many units are free."""
        for index in range(self._oldest, self._newest + 1):
            units -= self._taken[index % _RING]
            if units <= 0:
                return max(0.0, (index + SLOTS + 1) * self._slot_s - now)
        return float("inf")


class _WindowGenerations:
    """The windows of one length, by key, in two generations: a window that is unused for its length is dropped."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._young: dict[tuple[str, str], _Window] = {}
        self._old: dict[tuple[str, str], _Window] = {}
        self._turns_at = 0.0

    def get(self, key: tuple[str, str], now: float) -> _Window:
        if now >= self._turns_at:
            # After two lengths the young generation is stale as well.
            self._old = self._young if now < self._turns_at + self._window_s else {}
            self._young = {}
            self._turns_at = now + self._window_s * (1 + 2 / SLOTS)
        window = self._young.get(key)
        if window is None:
            window = self._young[key] = self._old.get(key) or _Window(self._window_s)
        if now >= window.resets_at:
            window.forget(now)
        return window

    def __len__(self) -> int:
        return len(self._young) + len(self._old)


class MemoryCounters:
    """Counters of one process. Several workers need shared ones: each would admit the whole limit."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._generations: dict[float, _WindowGenerations] = {}

    def __len__(self) -> int:
        return sum(len(generation) for generation in self._generations.values())

    def charge_now(self, asked: Sequence[Charge]) -> LimitExceeded | list[LimitState]:
        """Charge every limit, or none when one is exhausted."""
        now = self._clock()
        windows = []
        for number, (key, limit, window_s, cost) in enumerate(asked):
            window = self._window(key, window_s, now)
            if window.total + cost > limit:
                return _exceeded(number, window, limit, cost, now)
            windows.append(window)
        left = []
        for window, (_, limit, _, cost) in zip(windows, asked, strict=True):
            window.add(now, cost)
            left.append(LimitState(limit - window.total, window.resets_at - now))
        return left

    def look(self, asked: Sequence[Charge]) -> LimitExceeded | None:
        """The first exhausted limit, or None. Nothing is charged."""
        now = self._clock()
        for number, (key, limit, window_s, cost) in enumerate(asked):
            window = self._window(key, window_s, now)
            if window.total + cost > limit:
                return _exceeded(number, window, limit, cost, now)
        return None

    def add(self, asked: Sequence[Charge]) -> None:
        """Charge every limit, exhausted or not."""
        now = self._clock()
        for key, _, window_s, cost in asked:
            self._window(key, window_s, now).add(now, cost)

    def _window(self, key: tuple[str, str], window_s: float, now: float) -> _Window:
        try:
            generation = self._generations[window_s]
        except KeyError:
            generation = self._generations[window_s] = _WindowGenerations(window_s)
        return generation.get(key, now)


def _exceeded(number: int, window: _Window, limit: int, cost: int, now: float) -> LimitExceeded:
    if cost > limit:
        return LimitExceeded(number, float("inf"))
    return LimitExceeded(number, window.free_in_s(now, window.total + cost - limit))
