"""Audit: one line of JSON for every call that changes something and every denial, and a table if one is configured.

The line goes to the logger `sanic_qserver.audit`, and to a file of its own when `[audit] file` names one; the file is
opened anew when it was moved away, as logrotate does. More than `DENIALS_A_SECOND` denials within a second are counted
and told in one line: a client that hammers a shut door must not fill the disk.
"""

import logging
import time
from logging.handlers import WatchedFileHandler
from typing import Protocol

import msgspec

from sanic_qserver.config.settings import AuditConfig, Config
from sanic_qserver.errors import ConfigError
from sanic_qserver.structs.audit import AuditEntry, AuditGet, KeptEntry

log = logging.getLogger("sanic_qserver.audit")

DENIALS_A_SECOND = 100


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
        self._second, self._denials = 0, 0

    def record(self, entry: AuditEntry) -> None:
        """Write an entry. Never raises for what an entry holds."""
        if entry.outcome == "denied" and not self._may_tell():
            return
        if self.table is not None:
            self.table.keep(entry)
        self._write(msgspec.json.encode(entry).decode())

    async def start(self) -> None:
        """Begin, on the running loop."""
        if self.table is not None:
            await self.table.start()

    async def stop(self) -> None:
        """Write what is left, and end."""
        if self.table is not None:
            await self.table.stop()
        if self._file is not None:
            self._file.close()

    def _may_tell(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            if self._denials > DENIALS_A_SECOND:
                self._write(f'{{"at":{time.time()},"outcome":"denied","untold":{self._denials - DENIALS_A_SECOND}}}')
            self._second, self._denials = second, 0
        self._denials += 1
        return self._denials <= DENIALS_A_SECOND

    def _write(self, line: str) -> None:
        if self._to_log:
            log.info("%s", line)
        if self._file is not None:
            self._file.emit(logging.LogRecord("sanic_qserver.audit", logging.INFO, "", 0, line, None, None))


def audit_of(config: Config) -> Audit:
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
