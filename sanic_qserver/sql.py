"""SQL databases: one way to read a URL, to make an engine, and to bring tables up to date.

Imported by what needs a database only: SQLAlchemy takes half a second. SQLite and PostgreSQL are known.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sqlalchemy import Connection, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sanic_qserver.errors import ConfigError

log = logging.getLogger("sanic_qserver.database")

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}
_ALEMBIC = threading.Lock()
_PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=10000")


def read_url(text_: str, setting: str) -> URL:
    """The URL with our driver: `sqlite:///logins.db` and `postgresql://…` are enough. Raises ConfigError.

    The password may hold `@`, `/`, `:` and `?` as they are: it goes from the first colon to the last `@`.
    """
    scheme, _, rest = text_.partition("://")
    account, at, place = rest.rpartition("@")
    try:
        url = make_url(f"{scheme}://{place}")
        driver = _DRIVERS.get(url.get_backend_name())
    except (ArgumentError, ValueError):  # Its text holds the URL, and that a password.
        raise ConfigError(f"{setting}: this is not a database URL") from None
    if driver is None:
        raise ConfigError(f"{setting}: '{url.get_backend_name()}' is not known; sqlite and postgresql are")
    if at and driver.startswith("sqlite"):  # A path.
        return make_url(text_).set(drivername=driver)
    if at:
        user, colon, password = account.partition(":")
        url = url.set(username=unquote(user), password=unquote(password) if colon else None)
    return url.set(drivername=driver)


def build_engine(url: URL, setting: str, *, pool_size: int = 5, pool_pre_ping: bool = False) -> AsyncEngine:
    """The engine for a URL of `read_url`. Raises ConfigError when the driver is not installed."""
    if not is_sqlite(url):
        try:
            return create_async_engine(url, pool_size=pool_size, pool_pre_ping=pool_pre_ping)
        except ModuleNotFoundError:
            raise ConfigError(f"{setting}: PostgreSQL needs sanic-qserver[postgres]") from None
    engine = create_async_engine(url, connect_args={"timeout": 10})

    @event.listens_for(engine.sync_engine, "connect")
    def settle(connection: Any, _: Any) -> None:
        cursor = connection.cursor()
        for pragma in _PRAGMAS:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return engine


def is_sqlite(url: URL) -> bool:
    """Whether it is a file, not a server."""
    return url.get_backend_name() == "sqlite"


def find_file(url: URL) -> str:
    """SQLite's file; "" when there is none."""
    return (url.database or "") if is_sqlite(url) and url.database != ":memory:" else ""


@dataclass(frozen=True)
class Migrations:
    """The tables of one purpose: where Alembic's revisions are, the newest one, and the table that names the present.

    `lock` is PostgreSQL's advisory lock: any number that nobody else uses.
    """

    folder: Path
    head: str
    version_table: str
    lock: int

    async def upgrade(self, engine: AsyncEngine, setting: str, revision: str = "") -> None:
        """Make the tables, or bring them up to date. Safe when several processes do it at once.

        Raises ConfigError for tables of a newer version, and what SQLAlchemy raises.
        """
        with _file_lock(find_file(engine.url)):
            async with engine.connect() as connection:
                if not is_sqlite(engine.url):
                    await connection.execute(text(f"SELECT pg_advisory_lock({self.lock})"))
                    await connection.commit()
                try:
                    async with _one_at_a_time():
                        await connection.run_sync(self._upgrade, revision or self.head, setting)
                    await connection.commit()
                finally:
                    if not is_sqlite(engine.url):
                        await connection.rollback()
                        await connection.execute(text(f"SELECT pg_advisory_unlock({self.lock})"))
                        await connection.commit()

    def find_revision(self, connection: Connection) -> str:
        """The revision of the tables; "" when there are none."""
        if not inspect(connection).has_table(self.version_table):
            return ""
        query = f"SELECT version_num FROM {self.version_table}"  # noqa: S608  # our own constant
        return str(connection.execute(text(query)).scalar() or "")

    def _upgrade(self, connection: Connection, revision: str, setting: str) -> None:
        found = self.find_revision(connection)
        connection.commit()
        if found == revision:
            return
        from alembic import command  # noqa: PLC0415  # 0.3 s and 10 MB, needed once in the life of a database
        from alembic.config import Config as AlembicConfig  # noqa: PLC0415
        from alembic.util import CommandError  # noqa: PLC0415

        config = AlembicConfig()
        config.set_main_option("script_location", str(self.folder))
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, revision)
        except CommandError:
            raise ConfigError(
                f"{setting}: its tables have revision {found}, which this version does not know"
            ) from None
        if found:
            log.info("%s: its tables were brought from revision %s to %s", setting, found, revision)
        else:
            log.info("%s: its tables were made (revision %s)", setting, revision)


@asynccontextmanager
async def _one_at_a_time() -> AsyncIterator[None]:
    """Alembic's `op` is global: two upgrades in one process, of logins and of the audit table, would mix."""
    while not _ALEMBIC.acquire(blocking=False):  # noqa: ASYNC110  # a lock of threads: loops of several may wait
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        _ALEMBIC.release()


@contextmanager
def _file_lock(file: str) -> Iterator[None]:
    """SQLite has no lock that spans several transactions: a file beside it does."""
    if not file:
        yield
        return
    make_private(file)
    make_private(f"{file}.lock")
    with Path(f"{file}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


_OTHERS = 0o007


def make_private(file: str | Path) -> None:
    """Make the file for its owner only (0600), or shut an existing one to others. Raises OSError.

    What a group was given stays. SQLite gives its journals the mode of the database.
    """
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        mode = Path(file).stat().st_mode & 0o777
        if mode & _OTHERS:
            with contextlib.suppress(PermissionError):  # Somebody else's file: theirs to shut.
                Path(file).chmod(mode & ~_OTHERS)
