"""The audit trail in SQL: SQLite or PostgreSQL. Entries are written in batches, behind the requests.

When the database is away entries wait, at most `WAITING`; then the oldest are dropped and counted. The log has all.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Column, Float, Integer, MetaData, String, Table, Text, delete, insert, select
from sqlalchemy.exc import DataError, DBAPIError, SQLAlchemyError, StatementError

from sanic_qserver.errors import ConfigError, Overloaded
from sanic_qserver.sql import Migrations, build_engine, find_file, read_url
from sanic_qserver.structs.audit import AuditEntry, AuditGet, KeptEntry
from sanic_qserver.tasks import end_tasks

log = logging.getLogger("sanic_qserver.audit")

WAITING = 50_000
BATCH = 500
PERIOD_S = 0.5
STOP_S = 5.0
_DAY_S = 86_400.0

SETTING = "[audit] database"
VERSION_TABLE = "qserver_audit_version"
MIGRATIONS = Migrations(Path(__file__).parent / "migrations", "0001", VERSION_TABLE, lock=7_350_212)

TABLE = Table(
    "qserver_audit",
    MetaData(),
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False, index=True),
    Column("outcome", String(10), nullable=False),
    Column("endpoint", String(200), nullable=False),
    Column("user", String(200), nullable=False, index=True),
    Column("provider", String(100), nullable=False),
    Column("submitted_as", Text, nullable=False),
    Column("address", String(100), nullable=False),
    Column("key_id", String(20), nullable=False),
    Column("status", Integer, nullable=False),
    Column("code", String(60), nullable=False),
    Column("detail", Text, nullable=False),
    Column("request_id", String(130), nullable=False),
    Column("item_uids", Text, nullable=False),
    Column("more", Text, nullable=False),
)
_JSON = ("item_uids", "more")
_LENGTHS = {str(column.name): getattr(column.type, "length", None) for column in TABLE.columns}
_UNFIT = (StatementError, ValueError, TypeError, OverflowError)  # What the database says of an entry, not of itself.


class SqlTable:
    """The table, and the entries that wait to be written."""

    def __init__(self, url: str, keep_days: int, folder: Path) -> None:
        """Raises ConfigError for a URL that is none, or a database that needs something that is not installed."""
        parsed = read_url(url, SETTING)
        if file := find_file(parsed):
            parsed = parsed.set(database=str(folder / file))
        self._engine = build_engine(parsed, SETTING)
        self._keep_s = keep_days * _DAY_S
        self._waiting: deque[AuditEntry] = deque()
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._is_made = False
        self._cleaned_at = 0.0
        self.dropped_count = 0

    def keep(self, entry: AuditEntry) -> None:
        """Take an entry, to be written within a second."""
        if len(self._waiting) >= WAITING:
            self._waiting.popleft()
            self.dropped_count += 1
        self._waiting.append(entry)

    async def start(self) -> None:
        """Begin to write. A database that is away is tried for again and again."""
        self._task = asyncio.create_task(self._run(), name="audit table")

    async def stop(self) -> None:
        """Write what is left, and end."""
        self._stopping.set()
        if self._task is not None:
            # A write or migration that is under way ends by itself: cut off, it would leave a connection behind.
            await asyncio.wait((self._task,), timeout=STOP_S)
            await end_tasks(self._task)
        try:
            await self._write()
        except (SQLAlchemyError, OSError) as error:
            log.error("%d entries could not be written: %s", len(self._waiting), type(error).__name__)  # noqa: TRY400
        await self._engine.dispose()

    async def find(self, wanted: AuditGet) -> list[KeptEntry]:
        """The entries that match, the newest first. Raises Overloaded when the database does not answer."""
        column = TABLE.c
        query = select(TABLE).order_by(column.id.desc()).limit(wanted.limit)
        conditions = (
            (wanted.since, lambda value: column.at >= value),
            (wanted.until, lambda value: column.at < value),
            (wanted.user, lambda value: column.user == value),
            (wanted.outcome, lambda value: column.outcome == value),
            (wanted.before_id, lambda value: column.id < value),
            (wanted.item_uid, lambda value: column.item_uids.contains(f'"{value}"', autoescape=True)),
        )
        for value, condition in conditions:
            if value is not msgspec.UNSET:
                query = query.where(condition(value))
        try:
            await self._write()
            async with self._engine.connect() as connection:
                rows = (await connection.execute(query)).mappings().all()
        except (SQLAlchemyError, OSError):
            raise Overloaded("The audit table does not answer", headers={"Retry-After": "2"}) from None
        return [_entry({str(name): value for name, value in row.items()}) for row in rows]

    async def _run(self) -> None:
        told = False
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PERIOD_S):
                    await self._stopping.wait()
            try:
                await self._write()
                await self._clean()
                told = False
            except (SQLAlchemyError, OSError, ConfigError) as error:
                if not told:
                    what = error if isinstance(error, ConfigError) else type(error).__name__
                    log.error("The audit table cannot be written: %s", what)  # noqa: TRY400
                told = True

    async def _write(self) -> None:
        if not self._is_made:
            await MIGRATIONS.upgrade(self._engine, SETTING)
            self._is_made = True
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            try:
                await self._insert(batch)
            except BaseException:
                self._waiting.extendleft(reversed(batch))
                raise

    async def _insert(self, batch: list[AuditEntry]) -> None:
        """Write a batch; one by one when there is one that the table cannot hold, which is dropped and counted."""
        try:
            async with self._engine.begin() as connection:
                await connection.execute(insert(TABLE), list(_rows(batch)))
        except _UNFIT as error:
            if isinstance(error, DBAPIError) and not isinstance(error, DataError):
                raise
            if len(batch) > 1:
                for entry in batch:
                    await self._insert([entry])
                return
            self.dropped_count += 1
            log.error("An entry does not fit into the audit table: %s", type(error).__name__)  # noqa: TRY400

    async def _clean(self) -> None:
        """Delete what is older than is to be kept, once an hour."""
        if time.monotonic() - self._cleaned_at < 3600 and self._cleaned_at:
            return
        self._cleaned_at = time.monotonic()
        async with self._engine.begin() as connection:
            await connection.execute(delete(TABLE).where(TABLE.c.at < time.time() - self._keep_s))


def _rows(batch: Iterable[AuditEntry]) -> Iterable[dict[str, Any]]:
    for entry in batch:
        row = msgspec.structs.asdict(entry)
        row.update({name: msgspec.json.encode(row[name]).decode() for name in _JSON})
        yield {name: _fitting(name, value) if isinstance(value, str) else value for name, value in row.items()}


def _fitting(name: str, text: str) -> str:
    """The text as the column takes it: PostgreSQL holds no NUL, and not more than the column's length."""
    return text.replace("\x00", "\\x00")[: _LENGTHS[name]]


def _entry(row: dict[str, Any]) -> KeptEntry:
    return msgspec.convert({**row, **{name: msgspec.json.decode(row[name]) for name in _JSON}}, KeptEntry)
