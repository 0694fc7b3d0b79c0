"""What the server remembers of people and programs: principals, identities, sessions, API keys.

Each method is one transaction. What takes a credential away also raises the epoch, so that every worker
forgets what it had verified. Secrets are never stored: only hashes of them are.
"""

import uuid
from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from sanic_qserver.auth.database import Database
from sanic_qserver.auth.records import KeyRecord, Known
from sanic_qserver.auth.tables import api_keys, attempts, epoch, identities, one_time, principals, sessions
from sanic_qserver.errors import Conflict, NotFound
from sanic_qserver.structs.auth_replies import ApiKeyInfo, IdentityInfo, PrincipalInfo, SessionInfo, time_text
from sanic_qserver.structs.identity import Principal

_ACTIVITY_S = 60.0  # Last use is written at most this often.


class Store:
    """The records. `clock` gives POSIX seconds."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self.database = database
        self._clock = clock

    # People and programs

    async def remember(self, principal: Principal) -> Known:
        """The identity of a login: made at the first, brought up to date at each."""
        values = {
            "displayed_name": principal.displayed_name,
            "email": principal.email,
            "groups": list(principal.groups),
            "claims": dict(principal.claims),
            "latest_login": self._clock(),
        }
        for is_last in (False, True):
            try:
                return await self._remember(principal, values)
            except IntegrityError:  # Another worker made it between our look and our insert.
                if is_last:
                    raise
        raise AssertionError

    async def _remember(self, principal: Principal, values: dict[str, Any]) -> Known:
        async with self.database.begin() as connection:
            mine = and_(identities.c.provider == principal.provider, identities.c.name == principal.name)
            row = (await connection.execute(select(identities).where(mine))).one_or_none()
            if row is None:
                owner = principal.uuid or await self._new_principal(connection)
                await connection.execute(
                    insert(identities).values(
                        principal_uuid=owner, provider=principal.provider, name=principal.name, **values
                    )
                )
            else:
                await connection.execute(update(identities).where(mine).values(**values))
            row = (await connection.execute(_identity().where(mine))).one()
        return Known(id=row.id, principal=_principal(row))

    async def _new_principal(self, connection: AsyncConnection, *, is_service: bool = False, note: str = "") -> str:
        made = str(uuid.uuid4())
        await connection.execute(
            insert(principals).values(uuid=made, is_service=is_service, note=note, created_at=self._clock())
        )
        return made

    async def known(self, principal: Principal) -> Known | None:
        """The identity of somebody who asks; None for one who was never written down."""
        mine = and_(identities.c.provider == principal.provider, identities.c.name == principal.name)
        async with self.database.begin() as connection:
            row = (await connection.execute(_identity().where(mine))).one_or_none()
        return None if row is None else Known(id=row.id, principal=_principal(row))

    async def add_service(self, name: str, note: str) -> str:
        """Make a service account and return its uuid. Raises Conflict when the name is taken."""
        try:
            async with self.database.begin() as connection:
                made = await self._new_principal(connection, is_service=True, note=note)
                await connection.execute(
                    insert(identities).values(
                        principal_uuid=made,
                        provider="service",
                        name=name,
                        displayed_name="",
                        email="",
                        groups=[],
                        claims={},
                    )
                )
        except IntegrityError:
            raise Conflict(f"name: there is a service account '{name}' already") from None
        return made

    async def identity_of(self, principal_uuid: str) -> Known:
        """The identity that a principal logged in with last. Raises NotFound."""
        query = _identity().where(identities.c.principal_uuid == principal_uuid)
        async with self.database.begin() as connection:
            row = (await connection.execute(query.order_by(identities.c.latest_login.desc()).limit(1))).one_or_none()
        if row is None:
            raise NotFound("There is no principal with this uuid")
        return Known(id=row.id, principal=_principal(row))

    async def principals(self, offset: int, limit: int) -> list[PrincipalInfo]:
        """Everybody known, oldest first."""
        query = select(principals.c.uuid).order_by(principals.c.created_at, principals.c.uuid)
        async with self.database.begin() as connection:
            found = (await connection.execute(query.offset(offset).limit(limit))).scalars().all()
            return await self._infos(connection, list(found))

    async def principal(self, principal_uuid: str) -> PrincipalInfo:
        """One of them with identities, live keys and live sessions. Raises NotFound."""
        async with self.database.begin() as connection:
            found = await self._infos(connection, [principal_uuid])
        if not found:
            raise NotFound("There is no principal with this uuid")
        return found[0]

    async def _infos(self, connection: AsyncConnection, uuids: list[str]) -> list[PrincipalInfo]:
        now = self._clock()
        people = (await connection.execute(select(principals).where(principals.c.uuid.in_(uuids)))).all()
        names = (await connection.execute(select(identities).where(identities.c.principal_uuid.in_(uuids)))).all()
        owner = {row.id: row.principal_uuid for row in names}
        keys = (
            await connection.execute(select(api_keys).where(api_keys.c.identity_id.in_(owner), _live(api_keys, now)))
        ).all()
        open_ = (
            await connection.execute(
                select(sessions).where(
                    sessions.c.identity_id.in_(owner), sessions.c.expires_at > now, sessions.c.revoked_at.is_(None)
                )
            )
        ).all()
        by_uuid = {row.uuid: row for row in people}
        return [
            PrincipalInfo(
                uuid=one,
                type="service" if by_uuid[one].is_service else "user",
                identities=[_identity_info(row) for row in names if row.principal_uuid == one],
                api_keys=[key_info(row) for row in keys if owner[row.identity_id] == one],
                sessions=[_session_info(row) for row in open_ if owner[row.identity_id] == one],
                latest_activity=time_text(by_uuid[one].latest_activity),
            )
            for one in uuids
            if one in by_uuid
        ]

    # Sessions

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
            _identity(
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
        return (_principal(row), row) if row is not None else None

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
            _identity(
                api_keys.c.hash,
                api_keys.c.first_eight,
                api_keys.c.scopes,
                api_keys.c.note,
                api_keys.c.expires_at,
                api_keys.c.latest_activity,
            )
            .join(api_keys, api_keys.c.identity_id == identities.c.id)
            .where(api_keys.c.hash == hash_, _live(api_keys, self._clock()))
        )
        async with self.database.begin() as connection:
            row = (await connection.execute(query)).one_or_none()
        return (_principal(row), row) if row is not None else None

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


def _identity(*more: Any) -> Any:
    return select(identities, principals.c.is_service, *more).join(
        principals, principals.c.uuid == identities.c.principal_uuid
    )


def _live(table: Any, now: float) -> ColumnElement[bool]:
    return or_(table.c.expires_at.is_(None), table.c.expires_at > now)


def _principal(row: Row[Any]) -> Principal:
    return Principal(
        name=row.name,
        provider=row.provider,
        uuid=row.principal_uuid,
        displayed_name=row.displayed_name,
        email=row.email,
        groups=tuple(row.groups),
        claims=row.claims,
        is_service=row.is_service,
    )


def _identity_info(row: Row[Any]) -> IdentityInfo:
    return IdentityInfo(id=row.name, provider=row.provider, latest_login=time_text(row.latest_login))


def _session_info(row: Row[Any]) -> SessionInfo:
    return SessionInfo(
        uuid=row.uuid, expiration_time=time_text(row.expires_at), revoked=False, created_at=time_text(row.created_at)
    )


def key_info(row: Row[Any]) -> ApiKeyInfo:
    """What may be shown of a key."""
    return ApiKeyInfo(
        first_eight=row.first_eight,
        expiration_time=time_text(row.expires_at),
        note=row.note,
        scopes=list(row.scopes),
        latest_activity=time_text(row.latest_activity),
    )
