"""Databases and Redis: whether they answer, are up to date, and keep what they are told."""

from typing import Any
from urllib.parse import urlsplit

from sanic_qserver.cli.doctor.finding import Clock, Finding, Findings, compare_clocks, failed, ok, warning
from sanic_qserver.config.settings import Config
from sanic_qserver.errors import ConfigError, GatewayError

_REDIS = ("redis://", "rediss://", "unix://")
_OLDEST_REDIS = (6, 2)
_LOGINS = "database of logins"


async def check_logins_database(config: Config, clock: Clock) -> Findings:
    """Where there are logins: whether it answers, and the revision of its tables."""
    if not config.auth.providers and not config.database.url:
        return
    from sanic_qserver.auth.accounts import database_url  # noqa: PLC0415  # SQLAlchemy, where there is a database
    from sanic_qserver.auth.storage.database import HEAD, Database  # noqa: PLC0415

    try:
        database = Database(config.database, database_url(config))
    except ConfigError as error:
        yield failed(_LOGINS, str(error), "put [database] url right")
        return
    try:
        yield _judge_revision(await database.checked_revision(), HEAD, is_sqlite=database.is_sqlite)
        if not database.is_sqlite:
            async with database.begin() as connection:
                found = await connection.exec_driver_sql("SELECT extract(epoch FROM now())::float8")
                yield compare_clocks("PostgreSQL", float(found.scalar_one()), clock())
    except (ConfigError, GatewayError) as error:
        yield failed(_LOGINS, str(error), "start the database, or put [database] url right")
    finally:
        await database.close()


def _judge_revision(found: str, head: str, *, is_sqlite: bool) -> Finding:
    if found == head:
        return ok(_LOGINS, f"is up to date, revision {found}")
    if found > head:
        return failed(
            _LOGINS,
            f"has revision {found}, of a newer version; this one knows {head}",
            "install that version again, or restore the backup of before the upgrade",
        )
    if not found and is_sqlite:
        return ok(_LOGINS, "is made at the first start")
    return warning(
        _LOGINS,
        f"is not migrated: revision {found or 'none'}, this version has {head}",
        "back it up, then: sanic-qserver db upgrade --config FILE (the next start of the server does it too)",
    )


def redis_urls(config: Config) -> list[str]:
    """Each Redis that the configuration names, once."""
    named = (config.replicas.redis, config.policy.counters, config.idempotency.store)
    return [url for url in dict.fromkeys(named) if url.startswith(_REDIS)]


async def check_redis(url: str, clock: Clock) -> Findings:
    """Whether it answers, and keeps what it is told."""
    try:
        from redis.asyncio import Redis  # noqa: PLC0415  # an extra
        from redis.exceptions import RedisError  # noqa: PLC0415
    except ModuleNotFoundError:
        yield failed("Redis", "the library is not installed", "pip install 'sanic-qserver[redis]'")
        return
    client = Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5)
    try:
        facts = await client.info()
        seconds, micros = await client.time()
        yield compare_clocks("Redis", seconds + micros / 1e6, clock())
        saves = await _find_saves(client, RedisError)
    except (RedisError, OSError) as error:
        where = urlsplit(url)
        place = f"{where.hostname}:{where.port or 6379}" if where.hostname else where.path
        hint = "start it, or put [replicas] redis, [policy] counters or [idempotency] store right"
        yield failed("Redis", f"does not answer at {place} ({type(error).__name__})", hint)
        return
    finally:
        await client.aclose()
    yield _judge_version(str(facts.get("redis_version", "")))
    yield _judge_persistence(facts, saves)
    yield _judge_memory(facts)


async def _find_saves(client: Any, refused: type[Exception]) -> str:
    """Its `save` setting; "?" where one may not ask."""
    try:
        return str((await client.config_get("save")).get("save", "?"))
    except refused:
        return "?"


def _judge_version(version: str) -> Finding:
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers >= _OLDEST_REDIS:
        return ok("Redis", f"answers, version {version}")
    oldest = ".".join(map(str, _OLDEST_REDIS))
    return warning("Redis", f"answers, version {version or 'unknown'}", f"use Redis {oldest} or newer")


def _judge_persistence(facts: dict[str, Any], saves: str) -> Finding:
    what = "Redis: persistence"
    if facts.get("aof_enabled"):
        return ok(what, "appendonly yes")
    do = "set appendonly yes in redis.conf (redis-cli CONFIG SET appendonly yes, then CONFIG REWRITE)"
    if saves:
        return warning(what, "snapshots only: a crash forgets the last minutes, Idempotency-Keys included", do)
    return failed(what, "nothing is kept: a restart of Redis forgets Idempotency-Keys, limits and events", do)


def _judge_memory(facts: dict[str, Any]) -> Finding:
    what, policy = "Redis: memory", str(facts.get("maxmemory_policy", "noeviction"))
    if policy == "noeviction":
        return ok(what, "noeviction")
    return failed(
        what,
        f"maxmemory-policy {policy}: when memory is short keys vanish, and a change may be done twice",
        "set maxmemory-policy noeviction in redis.conf; give what may be evicted a Redis of its own",
    )
