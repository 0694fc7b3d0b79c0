"""Asks everything that the configuration names whether it is there: `check --online`, and a part of `doctor`."""

import asyncio
import getpass
import sys
import time
from collections.abc import Awaitable, Callable

from sanic_qserver.api.services import Services
from sanic_qserver.auth.providers.provider import PasswordLogin
from sanic_qserver.cli.doctor.finding import Clock, Finding, Findings, failed, ok
from sanic_qserver.cli.doctor.manager import HEAR_S, check_manager
from sanic_qserver.cli.doctor.stores import check_logins_database, check_redis, redis_urls
from sanic_qserver.config.settings import Config
from sanic_qserver.errors import ConfigError, GatewayError, NotAuthenticated
from sanic_qserver.manager.publications import Publications

_ASK_S = 15.0
_ADVICE = "see docs/authentication.md for what this kind of login needs"

Probe = Callable[[], Awaitable[str]]


async def ask_all(config: Config, services: Services, login: str, clock: Clock = time.time) -> Findings:
    """What was asked, and what came of it. `login` is provider:name, or empty."""
    async for finding in check_manager(services.manager, Publications(config.manager), clock, HEAR_S):
        yield finding
    async for finding in check_logins_database(config, clock):
        yield finding
    for url in redis_urls(config):
        async for finding in check_redis(url, clock):
            yield finding
    logins = services.logins
    for way in dict.fromkeys((*logins.ways.values(), *logins.recognisers)):
        if (probe := getattr(way, "probe", None)) is not None:
            yield await _ask(f"provider {getattr(way, 'name', '')}", probe)
    if login:
        yield await _ask(f"login {login}", lambda: _try_login(services, login))
    await logins.close()


async def _ask(what: str, probe: Probe) -> Finding:
    try:
        async with asyncio.timeout(_ASK_S):
            return ok(what, await probe())
    except TimeoutError:
        return failed(what, f"no answer within {_ASK_S:g} s", _ADVICE)
    except (ConfigError, GatewayError) as error:
        return failed(what, getattr(error, "detail", "") or str(error), _ADVICE)


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
