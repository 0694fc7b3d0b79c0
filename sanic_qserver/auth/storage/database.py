"""The database of logins: its engine, and its migrations. SQLAlchemy is imported when one is opened, not before."""

import asyncio
import fcntl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sqlalchemy import Connection, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from sanic_qserver.auth.storage.tables import VERSION_TABLE
from sanic_qserver.config.logins import DatabaseConfig
from sanic_qserver.config.private_files import make_private
from sanic_qserver.errors import ConfigError, GatewayError

HEAD = "0002"
_LOCK = 7_350_211  # PostgreSQL's advisory lock for migrations: any number that nobody else uses.
_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}


class DatabaseAway(GatewayError):
    """The database of logins does not answer: nobody new can be recognised."""

    status, code, title = 503, "database_unavailable", "The database of logins is not available"


class Database:
    """One engine a process."""

    def __init__(self, config: DatabaseConfig, url: str) -> None:
        self.url = url_of(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = _engine(self.url, config, is_sqlite=self.is_sqlite)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A transaction. Raises DatabaseAway when the database does not answer."""
        try:
            async with self.engine.begin() as connection:
                yield connection
        except (DBAPIError, OSError, TimeoutError) as error:
            if isinstance(error, DBAPIError) and not _is_away(error):
                raise
            raise DatabaseAway("The database of logins does not answer", headers={"Retry-After": "2"}) from error

    async def upgrade(self, revision: str = HEAD) -> None:
        """Make the tables, or bring them up to date. Safe when several processes do it at once."""
        try:
            with self._file_lock():
                if file := self._file:
                    make_private(file)
                async with self.engine.connect() as connection:
                    if not self.is_sqlite:
                        await connection.execute(text(f"SELECT pg_advisory_lock({_LOCK})"))
                        await connection.commit()
                    try:
                        await connection.run_sync(_upgrade, revision)
                        await connection.commit()
                    finally:
                        if not self.is_sqlite:
                            await connection.rollback()
                            await connection.execute(text(f"SELECT pg_advisory_unlock({_LOCK})"))
                            await connection.commit()
        except (SQLAlchemyError, OSError) as error:
            raise self._refused(error) from None

    async def checked_revision(self) -> str:
        """The revision of the tables; "" when there are none. Makes nothing.

        Raises ConfigError when the database does not answer.
        """
        if self._is_missing():
            return ""
        try:
            async with asyncio.timeout(10), self.engine.connect() as connection:
                return await connection.run_sync(_revision)
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            raise self._refused(error) from None

    def _refused(self, error: Exception) -> ConfigError:
        return ConfigError(f"[database] url {self.url.render_as_string(hide_password=True)}: {_first_line(error)}")

    async def close(self) -> None:
        """Give the connections back."""
        await self.engine.dispose()

    @property
    def _file(self) -> str:
        """SQLite's file; "" when there is none."""
        name = self.url.database or ""
        return name if self.is_sqlite and name != ":memory:" else ""

    def _is_missing(self) -> bool:
        return bool(self._file) and not Path(self._file).exists()

    @contextmanager
    def _file_lock(self) -> Iterator[None]:
        """SQLite has no lock that spans several transactions: a file beside it does."""
        if not self._file:
            yield
            return
        make_private(self._file + ".lock")
        with Path(self._file + ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def url_of(text_: str) -> URL:
    """The URL with our driver: `sqlite:///logins.db` and `postgresql://…` are enough. Raises ConfigError.

    The password may hold `@`, `/`, `:` and `?` as they are: it goes from the first colon to the last `@`.
    """
    scheme, _, rest = text_.partition("://")
    account, at, place = rest.rpartition("@")
    try:
        url = make_url(f"{scheme}://{place}")
        driver = _DRIVERS.get(url.get_backend_name())
    except (ArgumentError, ValueError):  # Its text holds the URL.
        raise ConfigError("[database] url: this is not a database URL") from None
    if driver is None:
        raise ConfigError(f"[database] url: '{url.get_backend_name()}' is not known; sqlite and postgresql are")
    if at and driver.startswith("sqlite"):  # A path.
        return make_url(text_).set(drivername=driver)
    if at:
        user, colon, password = account.partition(":")
        url = url.set(username=unquote(user), password=unquote(password) if colon else None)
    return url.set(drivername=driver)


def _engine(url: URL, config: DatabaseConfig, *, is_sqlite: bool) -> AsyncEngine:
    if not is_sqlite:
        try:
            return create_async_engine(url, pool_size=config.pool_size, pool_pre_ping=config.pool_pre_ping)
        except ModuleNotFoundError:
            raise ConfigError("[database] url: PostgreSQL needs sanic-qserver[postgres]") from None
    engine = create_async_engine(url, connect_args={"timeout": 10})

    @event.listens_for(engine.sync_engine, "connect")
    def settle(connection: Any, _: Any) -> None:
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=10000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return engine


def _revision(connection: Connection) -> str:
    if not inspect(connection).has_table(VERSION_TABLE):
        return ""
    query = f"SELECT version_num FROM {VERSION_TABLE}"  # noqa: S608  # our own constant
    return str(connection.execute(text(query)).scalar() or "")


def _upgrade(connection: Connection, revision: str) -> None:
    found = _revision(connection)
    connection.commit()
    if found == revision:
        return
    from alembic import command  # noqa: PLC0415  # 0.3 s and 10 MB, needed once in the life of a database
    from alembic.config import Config as AlembicConfig  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = AlembicConfig()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, revision)
    except CommandError:
        raise ConfigError(
            f"[database] url: its tables have revision {found}, which this version does not know"
        ) from None


def _is_away(error: DBAPIError) -> bool:
    return error.connection_invalidated or error.__class__.__name__ in ("OperationalError", "InterfaceError")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
