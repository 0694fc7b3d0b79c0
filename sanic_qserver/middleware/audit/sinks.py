"""Audit: one line of JSON for every call that changes something and every denial, and a table if one is configured.

The line goes to the logger `sanic_qserver.audit`, and to a file of its own when `[audit] file` names one; the file is
opened anew when it was moved away, as logrotate does. Denials have a budget: a client that hammers a shut door must
neither fill the disk nor hide what others do.
"""

import asyncio
import logging
from logging.handlers import WatchedFileHandler
from typing import Protocol

import msgspec

from sanic_qserver.config.settings import AuditConfig, Config
from sanic_qserver.errors import ConfigError
from sanic_qserver.middleware.audit.budget import DenialBudget
from sanic_qserver.structs.audit import AuditEntry, AuditGet, KeptEntry, harmless

log = logging.getLogger("sanic_qserver.audit")

_TELL_AFTER_S = 1.1  # The second is over then.


class AuditTable(Protocol):
    """Keeps entries where they can be asked for."""

    def keep(self, entry: AuditEntry) -> None:
        """Take an entry, to be written soon."""
        ...

    async def find(self, wanted: AuditGet) -> list[KeptEntry]:
        """The entries that match, the newest first."""
        ...

    async def start(self) -> None:
        """Begin to write."""
        ...

    async def stop(self) -> None:
        """Write what is left, and end."""
        ...


class Audit:
    """The audit trail of one process."""

    def __init__(self, config: AuditConfig, table: AuditTable | None = None) -> None:
        """Raises ConfigError when the file cannot be opened."""
        self.table = table
        self._to_log = config.log
        self._file = _file_handler(config.file) if config.file else None
        self._budget = DenialBudget()
        self._teller: asyncio.TimerHandle | None = None

    @property
    def has_sinks(self) -> bool:
        """Whether an entry goes anywhere."""
        return self.table is not None or self._file is not None or (self._to_log and log.isEnabledFor(logging.INFO))

    def record(self, entry: AuditEntry) -> None:
        """Write an entry. Never raises for what an entry holds."""
        if entry.outcome == "denied" and not self._is_within_budget(entry):
            return
        self._keep(entry)

    def _keep(self, entry: AuditEntry) -> None:
        try:
            line = msgspec.json.encode(entry)
        except UnicodeEncodeError:  # A lone surrogate.
            entry = harmless(entry)
            line = msgspec.json.encode(entry)
        if self.table is not None:
            self.table.keep(entry)
        self._write(line.decode())

    async def start(self) -> None:
        """Begin, on the running loop."""
        if self.table is not None:
            await self.table.start()

    async def stop(self) -> None:
        """Write what is left, and end."""
        self._tell_of_rest(at_end=True)
        if self._teller is not None:
            self._teller.cancel()
        if self.table is not None:
            await self.table.stop()
        if self._file is not None:
            self._file.close()

    def _is_within_budget(self, entry: AuditEntry) -> bool:
        self._tell_of_rest()
        if self._budget.take(entry):
            return True
        self._begin_to_tell()
        return False

    def _begin_to_tell(self) -> None:
        if self._teller is None:
            self._teller = asyncio.get_running_loop().call_later(_TELL_AFTER_S, self._tell_later)

    def _tell_later(self) -> None:
        self._teller = None
        self._tell_of_rest()
        if self._budget.has_rest:  # Of a second that is not over.
            self._begin_to_tell()

    def _tell_of_rest(self, *, at_end: bool = False) -> None:
        if (rest := self._budget.summary(at_end=at_end)) is not None:
            self._keep(rest)

    def _write(self, line: str) -> None:
        if self._to_log:
            log.info("%s", line)
        if self._file is not None:
            self._file.emit(logging.LogRecord("sanic_qserver.audit", logging.INFO, "", 0, line, None, None))


def build_audit(config: Config) -> Audit:
    """The audit trail that the configuration asks for. Raises ConfigError."""
    file = config.audit.file
    if file:
        file = str(config.folder / file)
    table: AuditTable | None = None
    if config.audit.database:
        from sanic_qserver.middleware.audit.table import SqlTable  # noqa: PLC0415  # SQLAlchemy takes 0.3 s to import

        table = SqlTable(config.audit.database, config.audit.keep_days, config.folder)
    return Audit(msgspec.structs.replace(config.audit, file=file), table)


def _file_handler(file: str) -> WatchedFileHandler:
    try:
        return WatchedFileHandler(file, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"[audit] file: {error}") from None
