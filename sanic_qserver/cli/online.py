"""`sanic-qserver check --online`: asks everything that the configuration names whether it is there."""

import asyncio
import getpass
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

from sanic_qserver.api.services import Services
from sanic_qserver.auth.providers.provider import PasswordLogin
from sanic_qserver.config.settings import Config
from sanic_qserver.errors import ConfigError, GatewayError, NotAuthenticated

_REDIS = ("redis://", "rediss://", "unix://")
_ASK_S = 15.0

Probe = Callable[[], Awaitable[str]]


async def ask_all(config: Config, services: Services, login: str) -> AsyncIterator[tuple[str, str, bool]]:
    """What was asked, what came of it, and whether it is well. `login` is provider:name, or empty."""
    probes: list[tuple[str, Probe]] = [("RE Manager", lambda: _ask_manager(services))]
    if config.auth.providers or config.database.url:
        probes.append(("database of logins", lambda: _ask_database(config)))
    urls = dict.fromkeys((config.policy.counters, config.idempotency.store))
    probes += [("Redis", partial(_ask_redis, url)) for url in urls if url.startswith(_REDIS)]
    logins = services.logins
    for way in dict.fromkeys((*logins.ways.values(), *logins.recognisers)):
        if (probe := getattr(way, "probe", None)) is not None:
            probes.append((f"provider {getattr(way, 'name', '')}", probe))
    if login:
        probes.append((f"login {login}", lambda: _try_login(services, login)))
    for what, probe in probes:
        try:
            async with asyncio.timeout(_ASK_S):
                yield what, await probe(), True
        except TimeoutError:
            yield what, f"no answer within {_ASK_S:g} s", False
        except (ConfigError, GatewayError) as error:
            yield what, getattr(error, "detail", "") or str(error), False
    await logins.close()


async def _ask_manager(services: Services) -> str:
    manager = services.manager
    manager.open()
    try:
        await manager.request("status")
    finally:
        await manager.close()
    return f"answers at {manager.config.control_address}"


async def _ask_database(config: Config) -> str:
    from sanic_qserver.auth.accounts import database_url  # noqa: PLC0415  # SQLAlchemy, where there is a database
    from sanic_qserver.auth.storage.database import HEAD, Database  # noqa: PLC0415

    database = Database(config.database, database_url(config))
    try:
        found = await database.checked_revision()
    finally:
        await database.close()
    return "up to date" if found == HEAD else f"revision {found or 'none'}: the next start brings it to {HEAD}"


async def _ask_redis(url: str) -> str:
    try:
        from redis.asyncio import Redis  # noqa: PLC0415  # an extra
        from redis.exceptions import RedisError  # noqa: PLC0415
    except ModuleNotFoundError:
        raise ConfigError("Redis needs sanic-qserver[redis]") from None
    client = Redis.from_url(url)
    try:
        await client.ping()
    except (RedisError, OSError) as error:
        raise ConfigError(f"does not answer ({type(error).__name__})") from None
    finally:
        await client.aclose()
    return "answers"


async def _try_login(services: Services, login: str) -> str:
    provider, _, name = login.partition(":")
    way = services.logins.way(provider)
    if not name or not isinstance(way, PasswordLogin):
        raise ConfigError("write --login as provider:name, of a provider that takes name and password")
    password = getpass.getpass(f"Password of {login}: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    start = time.monotonic()
    principal = await way.login(name, password)
    if principal is None:
        raise ConfigError("refused: wrong name or password, or not allowed there (the log says which)")
    try:
        access = services.logins.access_of(principal)
    except NotAuthenticated as error:
        raise ConfigError(f"the password is right, and {principal.name} may not enter: {error.detail}") from None
    return f"let in as {principal.name}, roles {', '.join(access.roles)} ({time.monotonic() - start:.1f} s)"
