"""Hot reload of policy files: a change is noticed, checked, and only then put in force.

The rules:
1. A file is reloaded when it has changed and was then unchanged for one polling period (editors write in pieces).
2. A file that is invalid, empty or unreadable is not applied: the old policy stays in force, and a warning says so.
3. A file that is a prefix of the one in force may be truncated: it is applied only when it grants nobody more than
   before. SIGHUP, or a restart, applies it in any case.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

from sanic_qserver.errors import ConfigError
from sanic_qserver.policy.files.documents import Document, read_document
from sanic_qserver.reloading import FileChanges, StandingWarning
from sanic_qserver.tasks import end_tasks

log = logging.getLogger("sanic_qserver.policy")

PERIOD_S = 0.25
"""The polling period. Polling works on network file systems too, where the kernel sends no notifications."""


class Parsed(Protocol):
    """A parsed policy file."""

    document: Document

    def describe_added_grants(self, old: Self) -> str:
        """What this grants that `old` did not; "" for nothing."""
        ...


P = TypeVar("P", bound=Parsed)


class ReloadedFile(Generic[P]):
    """A policy file that is hot reloaded. `version` grows with each change; `warnings` say what is wrong with the file.

    The constructor raises ConfigError: a server does not start with an invalid policy.
    """

    def __init__(self, file: Path, parse: Callable[[Document], P], warnings: list[str]) -> None:
        self.file = file
        self.version = 1
        self.current = parse(read_document(file))
        self._parse = parse
        self._warning = StandingWarning(warnings, log)
        self._changes = FileChanges([file])

    async def poll(self) -> None:
        """Reload the file if it has changed. Never raises for its contents."""
        if await asyncio.to_thread(self._changes.have_settled):
            await self.reload()

    async def reload(self, *, is_meant: bool = False) -> bool:
        """Reload the file now. `is_meant`: an operator asked for it. Returns whether it was applied."""
        try:
            # In a thread: parsing a large file takes a noticeable part of a second.
            new = await asyncio.to_thread(lambda: self._parse(read_document(self.file)))
            self._refuse_cut_off(new, is_meant=is_meant)
        except ConfigError as error:
            self._warning.say(f"{error} (the old policy stays in force)")
            return False
        if new.document.text != self.current.document.text:
            self.current = new
            self.version += 1
            log.info("%s is in force now", self.file)
        self._warning.say("")
        return True

    def _refuse_cut_off(self, new: P, *, is_meant: bool) -> None:
        old_text, new_text = self.current.document.text, new.document.text
        if is_meant or len(new_text) >= len(old_text) or not old_text.startswith(new_text.rstrip("\n")):
            return
        if more := new.describe_added_grants(self.current):
            raise ConfigError(
                f"{self.file}: it is a prefix of the file in force, and grants more: {more}. "
                "A truncated file applies only if it grants nothing new; SIGHUP forces it"
            )


class HotReloader:
    """Polls policy files, and calls `also` each time."""

    def __init__(
        self,
        files: Sequence[ReloadedFile[Any]],
        period_s: float = PERIOD_S,
        also: Callable[[], None] = lambda: None,
    ) -> None:
        self._files = files
        self._also = also
        self._period_s = period_s
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start, on the running loop."""
        self._task = asyncio.create_task(self._run(), name="policy files")

    async def stop(self) -> None:
        """Stop."""
        await end_tasks(self._task)

    async def reload(self) -> None:
        """Reload all files now."""
        for file in self._files:
            await file.reload(is_meant=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._period_s)
            self._also()
            for file in self._files:
                await file.poll()
