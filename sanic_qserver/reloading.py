"""What everything needs that is read anew while the server runs: whether files changed, and what is wrong with them.

It knows nothing of what is read: policies, certificates, the access server's answers.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

_Seen = tuple[int, int, int] | None


class FileChanges:
    """Whether files changed.

    Editors write in pieces, and a key comes after its certificate: so a change counts only once two looks have found it
    the same. The caller decides how often it looks. Looking at files takes time: not on the event loop.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self._in_force = self._last_seen = self._look()

    def have_settled(self) -> bool:
        """Look. True, once for each change, when the files differ from those that were taken and rest."""
        seen = self._look()
        if seen != self._last_seen:
            self._last_seen = seen
            return False
        has_changed, self._in_force = seen != self._in_force, seen
        return has_changed

    def take(self) -> None:
        """The files are taken as they are now."""
        self._in_force = self._last_seen = self._look()

    def _look(self) -> tuple[_Seen, ...]:
        return tuple(map(_stat, self._files))


def _stat(file: Path) -> _Seen:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


class StandingWarning:
    """One warning among those of `/readyz`: it stands there until another takes its place, or none does."""

    def __init__(self, warnings: list[str], log: logging.Logger) -> None:
        self.text = ""
        self._warnings = warnings
        self._log = log

    def say(self, text: str) -> None:
        """This is wrong now; "" for nothing. The log is told when it is something else than before."""
        if text and text != self.text:
            self._log.error("%s", text)
        if self.text in self._warnings:
            self._warnings.remove(self.text)
        if text:
            self._warnings.append(text)
        self.text = text
