"""Sessions and API keys in the database, and the housekeeping of all tables.

Each method is one transaction. What takes a credential away also raises the epoch, so that every worker
forgets what it had verified. Secrets are never stored: only hashes of them are.
"""

import uuid
from typing import Any

from sqlalchemy import Row, and_, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sanic_qserver.auth.storage.people import People, identity_query, is_live
from sanic_qserver.auth.storage.records import KeyRecord, Known
from sanic_qserver.auth.storage.tables import api_keys, attempts, epoch, identities, one_time, principals, sessions
from sanic_qserver.errors import Conflict
from sanic_qserver.structs.identity import Principal


class Store(People):
    """Adds to the people what they hold. `clock` gives POSIX seconds."""

    async def open_session(self, known: Known, expires_at: float, limit: int) -> str:
        """A new session's uuid. The oldest ones end when there are more than `limit`."""
        now, made = self._clock(), str(uuid.uuid4())
        mine = and_(sessions.c.identity_id == known.id, sessions.c.revoked_at.is_(None), sessions.c.expires_at > now)
        async with self.database.begin() as connection:
            await connection.execute(
                insert(sessions).values(
                    uuid=made,
                    identity_id=known.id,
                    created_at=now,
                    expires_at=expires_at,
                    generation=0,
                    refreshed_at=now,
                )
            )
            open_ = (
                await connection.execute(select(sessions.c.uuid).where(mine).order_by(sessions.c.created_at))
            ).scalars()
            if surplus := list(open_)[:-limit]:
                await connection.execute(update(sessions).where(sessions.c.uuid.in_(surplus)).values(revoked_at=now))
                await self._raise_epoch(connection)
        return made

    async def session(self, session_uuid: str) -> tuple[Principal, Row[Any]] | None:
        """Who a live session belongs to, and its row. None when it is revoked, over, or was never there."""
        query = (
            identity_query(
                sessions.c.uuid,
                sessions.c.created_at,
                sessions.c.expires_at,
                sessions.c.generation,
                sessions.c.refreshed_at,
            )
            .join(sessions, sessions.c.identity_id == identities.c.id)
            .where(
                sessions.c.uuid == session_uuid, sessions.c.revoked_at.is_(None), sessions.c.expires_at > self._clock()
            )
        )
        async with self.database.begin() as connection:
            row = (await connection.execute(query)).one_or_none()
        return (self._principal(row), row) if row is not None else None

    async def turn_session(self, session_uuid: str, generation: int) -> bool:
        """Go from this generation of refresh tokens to the next. False when somebody else did it first."""
        now = self._clock()
        mine = and_(
            sessions.c.uuid == session_uuid, sessions.c.generation == generation, sessions.c.revoked_at.is_(None)
        )
        async with self.database.begin() as connection:
            done = await connection.execute(
                update(sessions).where(mine).values(generation=generation + 1, refreshed_at=now)
            )
        return bool(done.rowcount)

    async def revoke_session(self, session_uuid: str, owner_uuid: str | None = None) -> bool:
        """End a session: `owner_uuid`'s only, unless None. False when there is no such live one."""
        mine = and_(sessions.c.uuid == session_uuid, sessions.c.revoked_at.is_(None))
        if owner_uuid is not None:
            owned = select(identities.c.id).where(identities.c.principal_uuid == owner_uuid)
            mine = and_(mine, sessions.c.identity_id.in_(owned))
        async with self.database.begin() as connection:
            done = await connection.execute(update(sessions).where(mine).values(revoked_at=self._clock()))
            if done.rowcount:
                await self._raise_epoch(connection)
        return bool(done.rowcount)

    # API keys

    async def add_key(self, known: Known, key: KeyRecord, limit: int) -> None:
        """Keep a key. Raises Conflict when the principal has `limit` live ones already."""
        owned = select(identities.c.id).where(identities.c.principal_uuid == known.principal.uuid)
        count = select(func.count()).select_from(api_keys)
        async with self.database.begin() as connection:
            now = self._clock()
            await connection.execute(
                delete(api_keys).where(api_keys.c.identity_id.in_(owned), api_keys.c.expires_at <= now)
            )
            if (await connection.execute(count.where(api_keys.c.identity_id.in_(owned)))).scalar_one() >= limit:
                raise Conflict(f"There are {limit} API keys already, which is the most. Delete one first")
            await connection.execute(
                insert(api_keys).values(
                    hash=key.hash,
                    first_eight=key.first_eight,
                    identity_id=known.id,
                    scopes=list(key.scopes),
                    note=key.note,
                    created_at=key.created_at,
                    expires_at=key.expires_at,
                )
            )

    async def key(self, hash_: str) -> tuple[Principal, Row[Any]] | None:
        """Who a live key belongs to, and its row."""
        query = (
            identity_query(
                api_keys.c.hash,
                api_keys.c.first_eight,
                api_keys.c.scopes,
                api_keys.c.note,
                api_keys.c.expires_at,
                api_keys.c.latest_activity,
            )
            .join(api_keys, api_keys.c.identity_id == identities.c.id)
            .where(api_keys.c.hash == hash_, is_live(api_keys, self._clock()))
        )
        async with self.database.begin() as connection:
            row = (await connection.execute(query)).one_or_none()
        return (self._principal(row), row) if row is not None else None

    async def delete_key(self, first_eight: str, owner_uuid: str) -> bool:
        """Take a key away from its owner. False when they have none that begins so."""
        owned = select(identities.c.id).where(identities.c.principal_uuid == owner_uuid)
        mine = and_(api_keys.c.first_eight == first_eight, api_keys.c.identity_id.in_(owned))
        async with self.database.begin() as connection:
            done = await connection.execute(delete(api_keys).where(mine))
            if done.rowcount:
                await self._raise_epoch(connection)
        return bool(done.rowcount)

    # Housekeeping

    async def epoch(self) -> int:
        """A number that grows whenever something was taken away."""
        async with self.database.begin() as connection:
            return int((await connection.execute(select(epoch.c.value))).scalar_one())

    async def _raise_epoch(self, connection: AsyncConnection) -> None:
        await connection.execute(update(epoch).values(value=epoch.c.value + 1))

    async def write_activity(self, keys: dict[str, float], people: dict[str, float]) -> None:
        """Write down when keys (by hash) and principals (by uuid) were last seen."""
        async with self.database.begin() as connection:
            for hash_, at in keys.items():
                await connection.execute(update(api_keys).where(api_keys.c.hash == hash_).values(latest_activity=at))
            for one, at in people.items():
                await connection.execute(update(principals).where(principals.c.uuid == one).values(latest_activity=at))

    async def purge(self, keep_attempts_s: float) -> None:
        """Forget what is over. Revoked sessions stay for a day, so that a replay of their tokens is seen as such."""
        now = self._clock()
        async with self.database.begin() as connection:
            day_ago = now - 86_400
            await connection.execute(
                delete(sessions).where(or_(sessions.c.expires_at < day_ago, sessions.c.revoked_at < day_ago))
            )
            await connection.execute(delete(api_keys).where(api_keys.c.expires_at <= now))
            await connection.execute(delete(one_time).where(one_time.c.expires_at <= now))
            await connection.execute(delete(attempts).where(attempts.c.failed_at < now - keep_attempts_s))
