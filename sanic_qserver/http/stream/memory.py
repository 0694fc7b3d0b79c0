"""Memory that goes back to the system when a crowd of watchers has left.

What a connection leaves behind is freed by Python in its own time (much of it is in cycles), and Python's allocator
gives back only whole megabytes in which nothing is left. So one collection some seconds after the crowd, and nothing
that outlives a request may be made anew with each of them.
"""

import asyncio
import contextvars
import gc

CROWD = 100  # Watchers that must have left: a collection stops the loop, for 0.1 s after 1000 of them.
GONE_S = 25.0  # Sanic's timers for the end of a websocket hold on to it for some twenty seconds.


class Crowd:
    """Watches how many there are. Gives memory back `gone_s` seconds after at least `CROWD` have left."""

    def __init__(self, gone_s: float = GONE_S) -> None:
        self._gone_s = gone_s
        self._now = self._most = 0
        self._timer: asyncio.TimerHandle | None = None

    def counted(self, count: int) -> None:
        """Take note of the present number."""
        self._now = count
        self._most = max(self._most, count)
        if self._most - count >= CROWD and self._timer is None:
            # In a context of its own: that of whoever left last would keep the request alive.
            context = contextvars.Context()
            self._timer = asyncio.get_running_loop().call_later(self._gone_s, self._give_back, context=context)

    def stop(self) -> None:
        """Forget what was to be done."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_back(self) -> None:
        self._timer = None
        self._most = self._now
        gc.collect()
        import ctypes  # noqa: PLC0415  # takes 5 ms, and most servers never see a crowd

        if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # glibc has it, other libraries do not.
            trim(0)
