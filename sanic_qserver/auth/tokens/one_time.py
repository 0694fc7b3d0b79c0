"""One-time records with a short lifetime: tickets, pending logins.

In memory; in the database of logins, where there is one; else, with replicas, in the Redis that they share.

Their ids are secrets, so only hashes are kept. What was taken is gone: two takers never both get it.
"""

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from sanic_qserver.shared_state.redis import SharedRedis

if TYPE_CHECKING:
    from sanic_qserver.auth.storage.database import Database

Value = dict[str, Any]
_MOST = 10_000


class OneTime(Protocol):
    """Keeps values for a while, under secret ids of one kind or another."""

    async def put(self, kind: str, secret: str, value: Value, expires_at: float) -> None:
        """Keep a value, in place of what stood there."""
        ...

    async def look(self, kind: str, secret: str) -> Value | None:
        """The value, which stays."""
        ...

    async def take(self, kind: str, secret: str) -> Value | None:
        """The value, which is gone after this."""
        ...


def build_key(kind: str, secret: str) -> str:
    """What a value is kept under."""
    return f"{kind}:{hashlib.sha256(secret.encode()).hexdigest()}"


class MemoryOneTime:
    """For a server without a database. The oldest are forgotten when there are too many."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: dict[str, tuple[Value, float]] = {}

    async def put(self, kind: str, secret: str, value: Value, expires_at: float) -> None:
        """Keep a value."""
        while len(self._kept) >= _MOST:
            self._kept.pop(next(iter(self._kept)))
        self._kept[build_key(kind, secret)] = (value, expires_at)

    async def look(self, kind: str, secret: str) -> Value | None:
        """The value, which stays."""
        value, expires_at = self._kept.get(build_key(kind, secret), (None, 0.0))
        return value if expires_at > self._clock() else None

    async def take(self, kind: str, secret: str) -> Value | None:
        """The value, which is gone after this."""
        value, expires_at = self._kept.pop(build_key(kind, secret), (None, 0.0))
        return value if expires_at > self._clock() else None


class RedisOneTime:
    """For replicas without a database. All raise SharedStateAway when their Redis is away: then nobody gets in."""

    def __init__(self, shared: SharedRedis, clock: Callable[[], float]) -> None:
        self._shared = shared
        self._clock = clock

    async def put(self, kind: str, secret: str, value: Value, expires_at: float) -> None:
        """Keep a value."""
        left_ms = max(1, int((expires_at - self._clock()) * 1000))
        await self._shared.ask(
            self._shared.client.set(self._name(kind, secret), msgspec.json.encode(value), px=left_ms)
        )

    async def look(self, kind: str, secret: str) -> Value | None:
        """The value, which stays."""
        return _read(await self._shared.ask(self._shared.client.get(self._name(kind, secret))))

    async def take(self, kind: str, secret: str) -> Value | None:
        """The value, which is gone after this."""
        return _read(await self._shared.ask(self._shared.client.getdel(self._name(kind, secret))))

    def _name(self, kind: str, secret: str) -> str:
        return self._shared.key("one_time", build_key(kind, secret))


def _read(kept: bytes | None) -> Value | None:
    return None if kept is None else msgspec.json.decode(kept, type=Value)


class StoredOneTime:
    """For several workers and replicas: they share the database of logins."""

    def __init__(self, database: "Database", clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    async def put(self, kind: str, secret: str, value: Value, expires_at: float) -> None:
        """Keep a value."""
        from sqlalchemy import delete, insert  # noqa: PLC0415  # not without a database

        from sanic_qserver.auth.storage.tables import one_time  # noqa: PLC0415

        key = build_key(kind, secret)
        async with self._database.begin() as connection:
            await connection.execute(delete(one_time).where(one_time.c.id == key))
            await connection.execute(insert(one_time).values(id=key, value=value, expires_at=expires_at))

    async def look(self, kind: str, secret: str) -> Value | None:
        """The value, which stays."""
        from sqlalchemy import select  # noqa: PLC0415

        from sanic_qserver.auth.storage.tables import one_time  # noqa: PLC0415

        query = select(one_time).where(one_time.c.id == build_key(kind, secret), one_time.c.expires_at > self._clock())
        async with self._database.begin() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else dict(row.value)

    async def take(self, kind: str, secret: str) -> Value | None:
        """The value, which is gone after this."""
        from sqlalchemy import delete  # noqa: PLC0415

        from sanic_qserver.auth.storage.tables import one_time  # noqa: PLC0415

        query = (
            delete(one_time)
            .where(one_time.c.id == build_key(kind, secret))
            .returning(one_time.c.value, one_time.c.expires_at)
        )
        async with self._database.begin() as connection:
            row = (await connection.execute(query)).one_or_none()
        return dict(row.value) if row is not None and row.expires_at > self._clock() else None
