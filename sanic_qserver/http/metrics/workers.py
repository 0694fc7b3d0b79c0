"""The figures of all workers, in memory that they share, so that whichever answers a scrape tells those of all.

Prometheus' own way (a file for each value and process) would slow each request down, and keeps the files of the dead.
Here a worker counts in its own memory, and writes all it has at once: when another one asks, each second, at its end.

1. A worker holds a slot (`slots`): the first that is free. Its lock ends with its process.
2. A worker goes on with the counters that it finds in its slot: those of workers that have ended. So no counter that
   was told ever goes down: what is told has been written before. A worker that is killed loses what it has counted
   since it last wrote, at most `_WRITE_S`.
3. Who is asked to write answers by a datagram. One that does not, within `ASK_S`, is told with what it wrote last.
"""

import asyncio
import contextlib
import logging
import struct
from collections.abc import Callable
from typing import Protocol

import msgspec

from sanic_qserver.http.metrics.figures import Figures, add_up
from sanic_qserver.http.metrics.slots import Slots

log = logging.getLogger("sanic_qserver.http")

ASK_S = 0.5
_WRITE_S = 1.0
_MESSAGE = struct.Struct("<cIQ")  # Asked or written, the slot of who says it, the number of the question.
_ASKED, _WRITTEN = b"?", b"!"
_decode = msgspec.msgpack.Decoder(Figures).decode


class Workers(Protocol):
    """The workers of a server, this one included."""

    def open(self, measure: Callable[[], Figures]) -> None:
        """Begin to share. `measure` gives figures of the moment."""
        ...

    def close(self, last: Figures) -> None:
        """Leave the last figures to the others."""
        ...

    async def gather(self, own: Figures) -> dict[int, Figures]:
        """The figures of all, by number, with its own as given. Of workers that have ended, the counters."""
        ...


class OneWorker:
    """A server with one process."""

    def open(self, measure: Callable[[], Figures]) -> None:
        """There is nobody to share with."""

    def close(self, last: Figures) -> None:
        """There is nobody to leave them to."""

    async def gather(self, own: Figures) -> dict[int, Figures]:
        """Its own."""
        own.gauges["qserver_worker_answering"] = 1
        return {0: own}


class SeveralWorkers:
    """One of several workers, which hold a slot each."""

    def __init__(self, slots: Slots, number: int) -> None:
        """`number`: of a slot that this process has taken."""
        self.number = number
        self._slots = slots
        self._turn, content = slots.read(number)
        self._before = _decode(content) if content else Figures()
        self._measure: Callable[[], Figures] = Figures
        self._question = 0
        self._asked: set[int] = set()
        self._answered, self._gathering = asyncio.Event(), asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None

    def open(self, measure: Callable[[], Figures]) -> None:
        """Write from now on, each second and when one of the others asks."""
        self._measure = measure
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._slots.inboxes[self.number], self._hear)
        self._write_again()

    def close(self, last: Figures) -> None:
        """Write for the last time."""
        if self._timer is not None:
            self._timer.cancel()
            self._loop.remove_reader(self._slots.inboxes[self.number])
            self._write(last)

    async def gather(self, own: Figures) -> dict[int, Figures]:
        """Ask the others to write, wait for them a little, and read what all have written."""
        others = {number for number in range(len(self._slots)) if number != self.number and self._slots.is_held(number)}
        async with self._gathering:
            silent = await self._ask(others)
        self._write(own)
        found: dict[int, Figures] = {}
        for number in range(len(self._slots)):
            _, content = self._slots.read(number)
            if content:
                found[number] = figures = _decode(content)
                if number not in others and number != self.number:
                    figures.gauges = {}  # It was killed, and could not take them back.
                elif figures.gauges:
                    figures.gauges["qserver_worker_answering"] = int(number not in silent)
        return found

    async def _ask(self, others: set[int]) -> set[int]:
        """Ask the others to write now. Those that did not answer."""
        self._question += 1
        self._asked = set(others)
        self._answered.clear()
        for number in others:
            self._say(_ASKED, number, self._question)
        if others:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ASK_S):
                    await self._answered.wait()
        return self._asked

    def _say(self, what: bytes, to: int, question: int) -> None:
        with contextlib.suppress(OSError):  # Its inbox is full: it hangs.
            self._slots.outboxes[to].send(_MESSAGE.pack(what, self.number, question))

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                what, sender, question = _MESSAGE.unpack(self._slots.inboxes[self.number].recv(_MESSAGE.size))
                if what == _ASKED:
                    self._write(self._measure())
                    self._say(_WRITTEN, sender, question)
                elif question == self._question:
                    self._asked.discard(sender)
                    if not self._asked:
                        self._answered.set()

    def _write_again(self) -> None:
        self._write(self._measure())
        self._timer = self._loop.call_later(_WRITE_S, self._write_again)

    def _write(self, figures: Figures) -> None:
        """Write this worker's figures, with what was counted in its slot before it."""
        both = add_up([figures, self._before])
        both.gauges = figures.gauges
        self._turn += 1
        self._slots.write(self.number, self._turn, msgspec.msgpack.encode(both))


def share_figures(slots: Slots) -> Workers:
    """The part of the process that calls in it. Alone, and a line in the log, when all slots are held."""
    number = slots.take()
    if number is None:
        log.warning("The metrics of this worker are not shared: too many workers are ending")
        return OneWorker()
    return SeveralWorkers(slots, number)
