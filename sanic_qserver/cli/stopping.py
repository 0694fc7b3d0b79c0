"""SIGTERM and SIGINT: one handler from the first moment to the last, so that none is lost in between.

An exception alone would not do: raised inside a destructor, an import or somebody's `except BaseException` it is gone.
So the signal is noted too, and looked at whenever a part of the start is done. What runs until it is told to stop
(an event loop, the process above the workers) is told by a call.
"""

import signal
import sys
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Takes the place of the handlers of both signals while it is entered. For the main thread.

    Ctrl-C a second time asks for haste. A second SIGTERM does not: systemd and the process above both send one.
    """

    def __init__(self) -> None:
        self.is_told = self.is_in_haste = False
        self._tell: Callable[[], object] | None = None
        self._interrupts = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """End the process, in order, when a signal has come."""
        if self.is_told:
            sys.exit(0)

    def tell(self, callback: Callable[[], object]) -> None:
        """Call back at each signal from now on, and at once when one has come. Nothing is raised any more."""
        self._tell = callback
        if self.is_told:
            callback()

    def _note(self, number: int, _: FrameType | None) -> None:
        self.is_told = True
        self._interrupts += number == signal.SIGINT
        self.is_in_haste = self._interrupts > 1
        if self._tell is None:
            sys.exit(0)
        self._tell()
