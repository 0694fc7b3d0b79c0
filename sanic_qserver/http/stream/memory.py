"""Returns memory to the system after many subscribers have left.

Python frees what a connection leaves behind late (much of it is in cycles), and its allocator returns only arenas that
are empty. So there is one garbage collection some seconds later; and nothing that outlives a request may be allocated
with each of them.
"""

import asyncio
import contextvars
import gc

MANY_LEFT = 100  # So many must have left. A collection stops the loop for 0.1 s after 1000 of them.
TRIM_AFTER_S = 25.0  # Sanic's timers for the end of a websocket hold on to it for some twenty seconds.


class MemoryTrimmer:
    """Collects garbage and trims the heap `trim_after_s` seconds after at least `MANY_LEFT` subscribers have left."""

    def __init__(self, trim_after_s: float = TRIM_AFTER_S) -> None:
        self._gone_s = trim_after_s
        self._now = self._most = 0
        self._timer: asyncio.TimerHandle | None = None

    def record(self, count: int) -> None:
        """Record the current number."""
        self._now = count
        self._most = max(self._most, count)
        if self._most - count >= MANY_LEFT and self._timer is None:
            # In a new context: the current one would keep the last request alive.
            context = contextvars.Context()
            self._timer = asyncio.get_running_loop().call_later(self._gone_s, self._trim, context=context)

    def stop(self) -> None:
        """Cancel what is scheduled."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _trim(self) -> None:
        self._timer = None
        self._most = self._now
        gc.collect()
        trim_heap()


def trim_heap() -> None:
    """Give pages of the heap on which nothing is left back to the system."""
    import ctypes  # noqa: PLC0415  # takes 5 ms: not while modules are imported

    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # glibc only.
        trim(0)
