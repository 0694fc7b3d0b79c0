"""Principals in the database: people and programs, and their identities at providers."""

import logging
import uuid
from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from sanic_qserver.auth.storage.database import Database
from sanic_qserver.auth.storage.records import Known
from sanic_qserver.auth.storage.spellings import merge_spellings
from sanic_qserver.auth.storage.tables import api_keys, facts, identities, principals, sessions
from sanic_qserver.errors import Conflict, NotFound
from sanic_qserver.structs.auth_replies import ApiKeyInfo, IdentityInfo, PrincipalInfo, SessionInfo, time_text
from sanic_qserver.structs.canonical import folded
from sanic_qserver.structs.identity import Principal

log = logging.getLogger("sanic_qserver.auth")


class People:
    """Their records. `clock` gives POSIX seconds.

    `folding`: providers for which spellings of a login are one person. Groups and claims of a login older than
    `claims_max_age_s` are not believed any more; None: they are for ever.
    """

    def __init__(
        self,
        database: Database,
        clock: Callable[[], float],
        *,
        folding: frozenset[str] = frozenset(),
        claims_max_age_s: float | None = None,
    ) -> None:
        self.database = database
        self._clock = clock
        self._folding = folding
        self._claims_max_age_s = claims_max_age_s

    async def settle(self) -> frozenset[str]:
        """Make one of the spellings that were kept apart before, and say what is so for this database."""
        async with self.database.begin() as connection:
            if count := await merge_spellings(connection, self._folding):
                log.warning("%d identities were other spellings of the same logins: they are one now", count)
            return frozenset((await connection.execute(select(facts.c.name))).scalars())

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
            row = await self._find(connection, principal)
            values = {**values, "name": principal.name, "folded_name": _folded(principal.name)}
            if row is None:
                owner = principal.uuid or await self._new_principal(connection)
                await connection.execute(
                    insert(identities).values(principal_uuid=owner, provider=principal.provider, **values)
                )
            else:
                await connection.execute(update(identities).where(identities.c.id == row.id).values(**values))
            row = (await connection.execute(identity_query().where(mine))).one()
        return Known(id=row.id, principal=self._principal(row))

    async def _find(self, connection: AsyncConnection, principal: Principal) -> Row[Any] | None:
        """The identity of this name; where spellings are one person, else the one that was seen last under another."""
        here = identity_query().where(identities.c.provider == principal.provider)
        row = (await connection.execute(here.where(identities.c.name == principal.name))).one_or_none()
        if row is not None or principal.provider not in self._folding:
            return row
        same = here.where(identities.c.folded_name == _folded(principal.name))
        return (await connection.execute(same.order_by(identities.c.latest_login.desc()).limit(1))).one_or_none()

    def _principal(self, row: Row[Any]) -> Principal:
        """The principal of a row of `identity_query`, with groups and claims unless they are too old."""
        age_s = self._claims_max_age_s
        is_fresh = age_s is None or (row.latest_login is not None and row.latest_login >= self._clock() - age_s)
        return Principal(
            name=row.name,
            provider=row.provider,
            uuid=row.principal_uuid,
            displayed_name=row.displayed_name,
            email=row.email,
            groups=tuple(row.groups) if is_fresh else (),
            claims=row.claims if is_fresh else {},
            is_service=row.is_service,
        )

    async def _new_principal(self, connection: AsyncConnection, *, is_service: bool = False, note: str = "") -> str:
        made = str(uuid.uuid4())
        await connection.execute(
            insert(principals).values(uuid=made, is_service=is_service, note=note, created_at=self._clock())
        )
        return made

    async def known(self, principal: Principal) -> Known | None:
        """The identity of somebody who asks; None for one who was never written down."""
        async with self.database.begin() as connection:
            row = await self._find(connection, principal)
        return None if row is None else Known(id=row.id, principal=self._principal(row))

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
                        folded_name=_folded(name),
                        displayed_name="",
                        email="",
                        groups=[],
                        claims={},
                    )
                )
        except IntegrityError:
            raise Conflict(f"name: there is a service account '{name}' already") from None
        return made

    async def find_identity(self, principal_uuid: str) -> Known:
        """The identity that a principal logged in with last. Raises NotFound."""
        query = identity_query().where(identities.c.principal_uuid == principal_uuid)
        async with self.database.begin() as connection:
            row = (await connection.execute(query.order_by(identities.c.latest_login.desc()).limit(1))).one_or_none()
        if row is None:
            raise NotFound("There is no principal with this uuid")
        return Known(id=row.id, principal=self._principal(row))

    async def find_logins(self, uuids: list[str]) -> dict[str, Principal]:
        """For each principal the identity that it logged in with last."""
        query = identity_query().where(identities.c.principal_uuid.in_(uuids))
        async with self.database.begin() as connection:
            rows = (await connection.execute(query.order_by(identities.c.latest_login))).all()
        return {row.principal_uuid: self._principal(row) for row in rows}

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
            await connection.execute(select(api_keys).where(api_keys.c.identity_id.in_(owner), is_live(api_keys, now)))
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


def identity_query(*more: Any) -> Any:
    """Identities with whether their principal is a service, and `more` columns."""
    return select(identities, principals.c.is_service, *more).join(
        principals, principals.c.uuid == identities.c.principal_uuid
    )


def is_live(table: Any, now: float) -> ColumnElement[bool]:
    """The condition that a row has not expired."""
    return or_(table.c.expires_at.is_(None), table.c.expires_at > now)


def _folded(name: str) -> str:
    return folded(name)[:255]


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
