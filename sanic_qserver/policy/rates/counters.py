"""Counting under limits, in this process's memory.

The strategy is the moving window, exact in one direction: in no stretch of a window's length does more pass than
the limit. A window is cut into 64 slots, and a place comes free when the whole slot is older than the window: at
most 1/64 of a window later than with single time stamps, for a bounded amount of memory.

The clock is monotonic: setting the system clock neither empties a window nor fills it.
"""

import math
import time
from array import array
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

SLOTS = 64
_RING = SLOTS + 2  # The window, the slot that is being filled, and one for the rounding of the clock.
_NOTHING_TAKEN = bytes(8 * _RING)


class Taking(NamedTuple):
    """`cost` places to take under one limit: `limit` places within `window_s` seconds, counted under `key`."""

    key: tuple[str, str]
    limit: int
    window_s: float
    cost: int


class Left(NamedTuple):
    """What one limit leaves: places, and the seconds until the oldest taken one comes free."""

    remaining: int
    reset_s: float


class Refused(NamedTuple):
    """A limit that has no room: which of the asked, and in how many seconds it has (inf: never, for such a cost)."""

    which: int
    retry_s: float


class Counters(Protocol):
    """Counts under several limits at once."""

    async def take(self, asked: Sequence[Taking]) -> Refused | list[Left]:
        """Take the places if there is room under every limit. Raises CountersUnavailable."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class CountersUnavailable(Exception):
    """The counters cannot be reached: nothing is known, and nothing was counted."""


class _Window:
    """One limit for one subject: how much was taken in which slot. `resets_at`: when the oldest slot comes free.

    The slots are one array, made once: an object a slot would be strewn over the memory of the process, and keep all
    of it from going back to the system when a crowd has left.
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
        """Let go of what is older than the window."""
        while self.total and (free_at := (self._oldest + SLOTS + 1) * self._slot_s) <= now:
            self.total -= self._taken[self._oldest % _RING]
            self._taken[self._oldest % _RING] = 0
            self._oldest += 1
            while self.total and not self._taken[self._oldest % _RING]:
                self._oldest += 1
        self.resets_at = free_at if self.total else math.inf

    def add(self, now: float, cost: int) -> None:
        """Count."""
        if now >= self._slot_ends_at:
            self._newest = int(now / self._slot_s)
            self._at = self._newest % _RING
            self._slot_ends_at = (self._newest + 1) * self._slot_s
        if not self.total:
            self._oldest = self._newest
            self.resets_at = (self._newest + SLOTS + 1) * self._slot_s
        self._taken[self._at] += cost
        self.total += cost

    def free_in_s(self, now: float, places: int) -> float:
        """Seconds until so many places have come free."""
        for index in range(self._oldest, self._newest + 1):
            places -= self._taken[index % _RING]
            if places <= 0:
                return max(0.0, (index + SLOTS + 1) * self._slot_s - now)
        return float("inf")


class _Generation:
    """The windows of one length, by key. What nobody touched for a whole length is dropped without being looked for."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._young: dict[tuple[str, str], _Window] = {}
        self._old: dict[tuple[str, str], _Window] = {}
        self._turns_at = 0.0

    def get(self, key: tuple[str, str], now: float) -> _Window:
        if now >= self._turns_at:
            # Twice a length went by: what is in `_young` may be empty as well.
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
    """Counters of one process. Several workers would each let the whole limit pass: they need shared ones."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._generations: dict[float, _Generation] = {}

    def __len__(self) -> int:
        return sum(len(generation) for generation in self._generations.values())

    def take_now(self, asked: Sequence[Taking]) -> Refused | list[Left]:
        """Take the places if there is room under every limit; else none is taken."""
        now = self._clock()
        windows = []
        for number, (key, limit, window_s, cost) in enumerate(asked):
            window = self._window(key, window_s, now)
            if window.total + cost > limit:
                return _no_room(number, window, limit, cost, now)
            windows.append(window)
        left = []
        for window, (_, limit, _, cost) in zip(windows, asked, strict=True):
            window.add(now, cost)
            left.append(Left(limit - window.total, window.resets_at - now))
        return left

    def look(self, asked: Sequence[Taking]) -> Refused | None:
        """The first limit that has no room; None when all have. Nothing is counted."""
        now = self._clock()
        for number, (key, limit, window_s, cost) in enumerate(asked):
            window = self._window(key, window_s, now)
            if window.total + cost > limit:
                return _no_room(number, window, limit, cost, now)
        return None

    def add(self, asked: Sequence[Taking]) -> None:
        """Count, whether there is room or not."""
        now = self._clock()
        for key, _, window_s, cost in asked:
            self._window(key, window_s, now).add(now, cost)

    def _window(self, key: tuple[str, str], window_s: float, now: float) -> _Window:
        try:
            generation = self._generations[window_s]
        except KeyError:
            generation = self._generations[window_s] = _Generation(window_s)
        return generation.get(key, now)


def _no_room(number: int, window: _Window, limit: int, cost: int, now: float) -> Refused:
    if cost > limit:
        return Refused(number, float("inf"))
    return Refused(number, window.free_in_s(now, window.total + cost - limit))
