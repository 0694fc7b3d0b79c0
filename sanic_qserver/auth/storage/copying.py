"""Moves what one database of logins holds into another: from SQLite to PostgreSQL, when a second server shares it.

All or nothing: one transaction there. The old database is only read.
"""

from sqlalchemy import Column, delete, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from sanic_qserver.auth.storage.database import HEAD, SETTING, Database
from sanic_qserver.auth.storage.tables import epoch, facts, metadata, principals
from sanic_qserver.errors import ConfigError

_ROWS_AT_ONCE = 500
# Every database has a row of its own here; what it counts matters to processes that run, and none does.
_NOT_COPIED = {epoch.name}


async def copy_all(old: Database, new: Database) -> dict[str, int]:
    """Copy every row; gives how many, by table. Makes the new tables. Raises ConfigError when that is not possible."""
    if (found := await old.checked_revision()) != HEAD:
        raise ConfigError(f"the old database has revision {found or 'none'}: bring it to {HEAD} first, with db upgrade")
    await new.upgrade()
    copied = {}
    async with old.begin() as source, new.begin() as target:
        if (await target.execute(select(func.count()).select_from(principals))).scalar_one():
            raise ConfigError(f"{SETTING}: there are accounts in it already, and nothing was copied")
        await target.execute(delete(facts))
        for table in metadata.sorted_tables:
            if table.name in _NOT_COPIED:
                continue
            copied[table.name] = 0
            rows = await source.stream(select(table))
            async for part in rows.mappings().partitions(_ROWS_AT_ONCE):
                await target.execute(insert(table), [dict(row) for row in part])
                copied[table.name] += len(part)
            if not new.is_sqlite:
                for column in table.primary_key.columns:
                    await _count_on(target, column)
    return copied


async def _count_on(target: AsyncConnection, column: Column[object]) -> None:
    """PostgreSQL numbers new rows from the last copied one on."""
    last = (await target.execute(select(func.max(column)))).scalar()
    name = {"table": column.table.name, "column": column.name}
    sequence = (await target.execute(text("SELECT pg_get_serial_sequence(:table, :column)"), name)).scalar()
    if sequence and last:
        await target.execute(text("SELECT setval(:sequence, :last)"), {"sequence": sequence, "last": last})
