"""Policy files that change while the server runs: seen, checked, and only then put in force.

The rules:
1. A file is read anew when it has changed and then stood still for one look (editors write in pieces).
2. A file with a mistake, an empty one or one that cannot be read leaves what was in force in force, and says so.
3. A file that is the beginning of the one in force was perhaps cut off: it comes into force only when it
   gives nobody more than before. SIGHUP (or a restart) says that it is meant.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

from sanic_qserver.errors import ConfigError
from sanic_qserver.policy.files.documents import Document, read_document

log = logging.getLogger("sanic_qserver.policy")

PERIOD_S = 0.25
"""Seconds between two looks. Files are asked rather than the kernel: that works on network file systems too."""

Seen = tuple[int, int, int] | None


class Parsed(Protocol):
    """What a policy file comes to."""

    document: Document

    def widens(self, old: Self) -> str:
        """What somebody gets here and did not get under `old`; empty when nobody gets more."""
        ...


P = TypeVar("P", bound=Parsed)


class WatchedFile(Generic[P]):
    """A policy file and what it comes to. `version` grows with each change; `warnings` says what is wrong with it.

    The constructor raises ConfigError: a server does not start with a mistake in a policy.
    """

    def __init__(self, file: Path, parse: Callable[[Document], P], warnings: list[str]) -> None:
        self.file = file
        self.version = 1
        self.current = parse(read_document(file))
        self._parse = parse
        self._warnings = warnings
        self._warning = ""
        self._in_force = self._last_look = _look(file)

    async def look(self) -> None:
        """Read the file if it has changed. Never raises for what is in the file."""
        seen = await asyncio.to_thread(_look, self.file)
        if seen != self._last_look:
            self._last_look = seen
        elif seen != self._in_force:
            self._in_force = seen
            await self.reload()

    async def reload(self, *, is_meant: bool = False) -> bool:
        """Read the file now. `is_meant`: somebody asked for it. Returns whether it came into force."""
        try:
            # In a thread: a large file takes a noticeable part of a second to parse.
            new = await asyncio.to_thread(lambda: self._parse(read_document(self.file)))
            self._refuse_cut_off(new, is_meant=is_meant)
        except ConfigError as error:
            self._warn(f"{error} (what was in force before stays in force)")
            return False
        if new.document.text != self.current.document.text:
            self.current = new
            self.version += 1
            log.info("%s is in force now", self.file)
        self._warn("")
        return True

    def _refuse_cut_off(self, new: P, *, is_meant: bool) -> None:
        old_text, new_text = self.current.document.text, new.document.text
        if is_meant or len(new_text) >= len(old_text) or not old_text.startswith(new_text.rstrip("\n")):
            return
        if more := new.widens(self.current):
            raise ConfigError(
                f"{self.file}: it is the beginning of the file in force, and gives more than that: {more}. "
                "A truncated file applies only if it grants nothing new; SIGHUP forces it"
            )

    def _warn(self, text: str) -> None:
        if text and text != self._warning:
            log.error("%s", text)
        if self._warning in self._warnings:
            self._warnings.remove(self._warning)
        if text:
            self._warnings.append(text)
        self._warning = text


def _look(file: Path) -> Seen:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


class Watcher:
    """Looks at several files, one after the other, again and again; and at whatever else is to be looked at."""

    def __init__(
        self,
        files: Sequence[WatchedFile[Any]],
        period_s: float = PERIOD_S,
        also: Callable[[], None] = lambda: None,
    ) -> None:
        self._files = files
        self._also = also
        self._period_s = period_s
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin, on the running loop."""
        self._task = asyncio.create_task(self._run(), name="policy files")

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def reload(self) -> None:
        """Read all files now."""
        for file in self._files:
            await file.reload(is_meant=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._period_s)
            self._also()
            for file in self._files:
                await file.look()
