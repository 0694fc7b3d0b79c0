"""The policies of one server: built from the configuration; started, stopped and reloaded together."""

import importlib
import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

from sanic_qserver.config.settings import Config, ServerConfig, resolve
from sanic_qserver.errors import ConfigError
from sanic_qserver.policy.access.permissions import Permissions
from sanic_qserver.policy.access.roles import ANONYMOUS_BUILT_IN, BUILT_IN
from sanic_qserver.policy.access.sources import ConfigPermissions, FilePermissions
from sanic_qserver.policy.access.windows import Clock
from sanic_qserver.policy.files.hot_reload import HotReloader, ReloadedFile
from sanic_qserver.policy.protocols import AccessPolicy, Background, RatePolicy
from sanic_qserver.policy.rates.limiter import RateLimits, RateRules
from sanic_qserver.policy.rates.redis_counters import RedisCounters
from sanic_qserver.policy.rates.shared_slots import SharedSlots
from sanic_qserver.shared_state.redis import SharedRedis

log = logging.getLogger("sanic_qserver.policy")

LOOPBACK = ("127.0.0.1", "::1", "localhost")
JUMP_S = 60.0
_JUMPED = "The system clock was set: until SIGHUP accepts it, validity windows must hold by the old and the new time"


class Policies:
    """The access policy and the rate policy."""

    def __init__(self, config: Config, warnings: list[str], shared: SharedRedis | None = None) -> None:
        """Raises ConfigError. Mistakes in reloaded files are put into `warnings`, and removed once they are fixed."""
        self.access: AccessPolicy = _access_policy(config, warnings)
        self.rates: RatePolicy = _rate_policy(config, warnings, shared)
        self._reloader = HotReloader([])
        self._warnings = warnings

    async def start(self) -> None:
        """Start background work, on the running loop."""
        for part in self._parts():
            await part.start()
        self._reloader = HotReloader(self._files(), also=self._look_at_clock)
        await self._reloader.start()

    async def stop(self) -> None:
        """Stop it."""
        await self._reloader.stop()
        for part in self._parts():
            await part.stop()

    async def reload(self) -> None:
        """Reload everything, and trust the system clock again."""
        for policy in (self.access, self.rates):
            if (clock := getattr(policy, "clock", None)) is not None:
                clock.anchor()
        await self._reloader.reload()
        for part in self._parts():
            await part.reload()

    def _look_at_clock(self) -> None:
        """Warn while the system clock has jumped: validity windows are narrower then."""
        clock = getattr(self.access, "clock", None)
        has_jumped = isinstance(clock, Clock) and abs(clock.jumped_s) > JUMP_S
        if has_jumped and _JUMPED not in self._warnings:
            log.warning(_JUMPED)
            self._warnings.append(_JUMPED)
        elif not has_jumped and _JUMPED in self._warnings:
            self._warnings.remove(_JUMPED)

    def _files(self) -> list[ReloadedFile[Any]]:
        watched = (getattr(policy, "watched", None) for policy in (self.access, self.rates))
        return [file for file in watched if isinstance(file, ReloadedFile)]

    def _parts(self) -> list[Background]:
        return [policy for policy in (self.access, self.rates) if isinstance(policy, Background)]


def _access_policy(config: Config, warnings: list[str]) -> AccessPolicy:
    policy = config.policy
    chosen = [name for name in ("permissions", "access", "access_class") if getattr(policy, name)]
    if len(chosen) > 1:
        raise ConfigError(f"[policy] {' and '.join(chosen)}: only one of these may be set")
    if policy.access_class and policy.access_server.url:
        raise ConfigError("[policy] access_class and access_server: only one of these may be set")
    if policy.access_class:
        made: AccessPolicy = imported(policy.access_class, "[policy] access_class")(**policy.access_args)
        return made
    folding = config.auth.folding
    built_in = ANONYMOUS_BUILT_IN if config.auth.allow_anonymous_access else BUILT_IN
    base: FilePermissions | ConfigPermissions
    if policy.access:
        base = ConfigPermissions(policy.access, config.source, built_in=built_in, folding=folding)
        refuse_unsafe(config.server, base.permissions)
    else:
        path = resolve(config, policy.permissions, "policies/permissions.yaml")
        check = partial(refuse_unsafe, config.server)
        base = FilePermissions(path, warnings, check=check, built_in=built_in, folding=folding)
    for unknown in unknown_scopes(base.permissions):
        log.warning("%s", unknown)
        warnings.append(unknown)
    if policy.access_server.url or policy.access_server.instrument:
        # Its HTTP client is a tenth of a second at start that others do not need.
        from sanic_qserver.policy.access.access_server import AccessServer  # noqa: PLC0415

        return AccessServer(policy.access_server, base, warnings)
    return base


def unknown_scopes(permissions: Permissions) -> Iterator[str]:
    """A line for each scope name of a reference configuration that means nothing here."""
    for role, names in permissions.unknown_scopes.items():
        for name in sorted(names):
            yield f"{permissions.document.source}: roles.{role}: there is no scope '{name}' here: it grants nothing"


def refuse_unsafe(server: ServerConfig, permissions: Permissions) -> None:
    """Raise ConfigError for a policy that lets everybody change things, on an address that others may reach."""
    if permissions.is_open and server.host not in LOOPBACK and not server.allow_anonymous_beyond_loopback:
        raise ConfigError(
            f"{permissions.document.source}: it lets everybody in without a key, and [server] host is {server.host}. "
            "If everybody who reaches that address may control the instrument, "
            "set [server] allow_anonymous_beyond_loopback = true"
        )


def _rate_policy(config: Config, warnings: list[str], shared: SharedRedis | None) -> RatePolicy:
    policy = config.policy
    if policy.rate_class:
        made: RatePolicy = imported(policy.rate_class, "[policy] rate_class")(**policy.rate_args)
        return made
    file = resolve(config, policy.rate_limits, "policies/rate_limits.yaml")
    watched = ReloadedFile(file, RateRules, warnings)
    if policy.counters == "memory":
        return RateLimits(watched)
    replicas = config.replicas
    prefix = f"{replicas.name}:rates" if policy.counters == replicas.redis else "qserver"
    slots = None if shared is None else SharedSlots(shared)
    return RateLimits(watched, RedisCounters(policy.counters, prefix), warnings, slots)


def imported(path: str, setting: str) -> Any:
    """The class or function that `package.module:name` names. Raises ConfigError, naming the setting."""
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{setting}: '{path}' cannot be imported ({error}); write it as package.module:Name"
        ) from None
