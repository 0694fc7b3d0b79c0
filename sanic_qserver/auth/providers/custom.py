"""Providers of one's own, by import path; and authenticators that were written for bluesky-httpserver."""

import importlib
import inspect
from typing import Any

from sanic_qserver.auth.providers.provider import AuthProvider, ExternalLogin, PasswordLogin
from sanic_qserver.config.logins import Custom
from sanic_qserver.errors import ConfigError
from sanic_qserver.structs.identity import Principal


def custom_provider(config: Custom) -> object:
    """What the configuration names, made with its options. Raises ConfigError."""
    module, _, name = config.import_path.partition(":")
    where = f"[[auth.providers]] {config.name}: import_path '{config.import_path}'"
    try:
        made: Any = getattr(importlib.import_module(module), name)(**config.options)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from None
    if inspect.iscoroutinefunction(getattr(made, "authenticate", None)) and not isinstance(made, PasswordLogin):
        made = Authenticator(made, config)
    if not any(isinstance(made, kind) for kind in (AuthProvider, PasswordLogin, ExternalLogin)):
        raise ConfigError(f"{where}: it has neither identify, nor login, nor authorize_url and finish")
    for method in ("identify", "login", "finish"):
        if hasattr(made, method) and not inspect.iscoroutinefunction(getattr(made, method)):
            raise ConfigError(f"{where}: {method} must be `async`")
    return made


class Authenticator:
    """An authenticator of the older server: `await authenticate(username, password)` gives a name, a state or None."""

    def __init__(self, authenticator: Any, config: Custom) -> None:
        self.name = config.name
        self.title = config.title or config.name
        self._authenticator = authenticator

    async def login(self, username: str, password: str) -> Principal | None:
        """Who that is, as the authenticator says."""
        found = await self._authenticator.authenticate(username, password)
        name = getattr(found, "user_name", found)
        if not name:
            return None
        state = getattr(found, "state", None)
        claims = state if isinstance(state, dict) else {}
        return Principal(name=str(name), provider=self.name, claims=claims)
