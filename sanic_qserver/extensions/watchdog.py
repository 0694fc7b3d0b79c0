"""Detects a blocked event loop, and the extension that blocks it: a thread inspects the stack of the loop."""

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path

log = logging.getLogger("sanic_qserver.extensions")

_IDLE = ("run_forever", "select", "_run_once")  # Where an idle loop is: uvloop has no Python frames of its own.


class Watchdog:
    """Logs the stack of the loop once for each time that it is blocked for longer than `blocked_after_s`.

    `files` maps modules to their file (or package folder), so that the log can name the extension.
    """

    def __init__(self, files: Mapping[str, str], blocked_after_s: float) -> None:
        self.blocked_after_s = blocked_after_s
        self.blocks: list[str] = []
        self._owners = {str(_find_root(file)): module for module, file in files.items() if file}
        self._is_stopped = threading.Event()
        self._beat = 0.0
        self._handle: asyncio.TimerHandle | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Watch the running loop."""
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._period_s = self.blocked_after_s / 4
        self._on_beat()
        self._thread = threading.Thread(target=self._watch, name="loop-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._is_stopped.set()
        if self._handle is not None:
            self._handle.cancel()
        if self._thread is not None:
            self._thread.join(1)

    def _on_beat(self) -> None:
        self._beat = time.monotonic()
        self._handle = self._loop.call_later(self._period_s, self._on_beat)

    def _watch(self) -> None:
        reported = 0.0
        while not self._is_stopped.wait(self._period_s):
            beat = self._beat
            if beat != reported and time.monotonic() - beat > self.blocked_after_s + self._period_s:
                reported = beat
                self._report(time.monotonic() - beat)

    def _report(self, held_s: float) -> None:
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001  # the documented way to see a thread's stack
        if frame is None:
            return
        stack = traceback.extract_stack(frame)
        if stack[-1].name in _IDLE:
            return  # Not blocked: the machine is too busy to run it.
        module = next((owner for line in reversed(stack) if (owner := self._owner(line.filename))), "")
        who = f"by extension '{module}'" if module else "not by an extension"
        self.blocks = [*self.blocks[-99:], module]
        log.error(
            "The event loop has been blocked for %.1f s, %s. Its stack:\n%s",
            held_s, who, "".join(traceback.format_list(stack[-12:])),
        )  # fmt: skip

    def _owner(self, filename: str) -> str:
        return next((module for place, module in self._owners.items() if filename.startswith(place)), "")


def _find_root(file: str) -> Path:
    """The file of a module; of a package, its folder."""
    path = Path(file)
    return path.parent if path.name == "__init__.py" else path
