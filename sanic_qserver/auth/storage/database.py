"""The database of logins: its engine, and its migrations. SQLAlchemy is imported when one is opened, not before."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from sanic_qserver.auth.storage.tables import VERSION_TABLE
from sanic_qserver.config.logins import DatabaseConfig
from sanic_qserver.errors import ConfigError, GatewayError
from sanic_qserver.sql import Migrations, build_engine, find_file, is_sqlite, read_url

HEAD = "0003"
MIGRATIONS = Migrations(Path(__file__).parent / "migrations", HEAD, VERSION_TABLE, lock=7_350_211)
SETTING = "[database] url"


class DatabaseAway(GatewayError):
    """The database of logins does not answer: nobody new can be recognised."""

    status, code, title = 503, "database_unavailable", "The database of logins is not available"


class Database:
    """One engine a process."""

    def __init__(self, config: DatabaseConfig, url: str) -> None:
        self.url = read_url(url, SETTING)
        self.is_sqlite = is_sqlite(self.url)
        self.engine = build_engine(self.url, SETTING, pool_size=config.pool_size, pool_pre_ping=config.pool_pre_ping)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A transaction. Raises DatabaseAway when the database does not answer."""
        try:
            async with self.engine.begin() as connection:
                yield connection
        except (DBAPIError, OSError, TimeoutError) as error:
            if isinstance(error, DBAPIError) and not is_away(error):
                raise
            raise DatabaseAway("The database of logins does not answer", headers={"Retry-After": "2"}) from error

    async def upgrade(self, revision: str = "") -> None:
        """Make the tables, or bring them up to date. Safe when several processes do it at once."""
        try:
            await MIGRATIONS.upgrade(self.engine, SETTING, revision)
        except (SQLAlchemyError, OSError) as error:
            raise self.refused(error) from None

    async def checked_revision(self) -> str:
        """The revision of the tables; "" when there are none. Makes nothing.

        Raises ConfigError when the database does not answer.
        """
        if self._is_missing():
            return ""
        try:
            async with asyncio.timeout(10), self.engine.connect() as connection:
                return await connection.run_sync(MIGRATIONS.find_revision)
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            raise self.refused(error) from None

    def _is_missing(self) -> bool:
        file = find_file(self.url)
        return bool(file) and not Path(file).exists()

    def refused(self, error: Exception) -> ConfigError:
        """The error for a start that the database does not allow."""
        return ConfigError(f"{SETTING} {self.url.render_as_string(hide_password=True)}: {_first_line(error)}")

    async def close(self) -> None:
        """Give the connections back."""
        await self.engine.dispose()


def is_away(error: DBAPIError) -> bool:
    """Whether the database does not serve now: it is gone, full, or starts or stops.

    asyncpg gives the last of these no class of their own. Source: appendix A of PostgreSQL's manual, classes 08 (the
    connection), 53 (resources), 57P (an operator's intervention).
    """
    state = str(getattr(error.orig, "sqlstate", None) or "")
    is_of_the_server = state.startswith(("08", "53", "57P"))
    named = error.__class__.__name__ in ("OperationalError", "InterfaceError")
    return error.connection_invalidated or named or is_of_the_server


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
