"""Spellings of one login that were kept apart before: they become one identity, with all its sessions and keys."""

from collections import defaultdict
from collections.abc import Collection
from typing import Any

from sqlalchemy import Row, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sanic_qserver.auth.storage.tables import api_keys, identities, principals, sessions


async def merge_spellings(connection: AsyncConnection, providers: Collection[str]) -> int:
    """How many identities of these providers went into others. The one of the last login stays."""
    same = (identities.c.provider, identities.c.folded_name)
    several = select(*same).where(identities.c.provider.in_(providers)).group_by(*same).having(func.count() > 1)
    merged = 0
    for provider, name in (await connection.execute(several)).all():
        mine = (identities.c.provider == provider, identities.c.folded_name == name)
        rows = (await connection.execute(select(identities).where(*mine).with_for_update())).all()
        stays, *gone = sorted(rows, key=lambda row: (-(row.latest_login or 0.0), row.id))
        await _move(connection, stays, gone)
        merged += len(gone)
    return merged


async def _move(connection: AsyncConnection, stays: Row[Any], gone: list[Row[Any]]) -> None:
    ids = [row.id for row in gone]
    for table in (sessions, api_keys):
        await connection.execute(update(table).where(table.c.identity_id.in_(ids)).values(identity_id=stays.id))
    await connection.execute(delete(identities).where(identities.c.id.in_(ids)))
    owners = defaultdict[str, int](int, {row.principal_uuid: 0 for row in gone})
    count = select(identities.c.principal_uuid).where(identities.c.principal_uuid.in_(owners))
    for owner in (await connection.execute(count)).scalars():
        owners[owner] += 1
    nobody = [owner for owner, kept in owners.items() if not kept]
    await connection.execute(delete(principals).where(principals.c.uuid.in_(nobody)))
