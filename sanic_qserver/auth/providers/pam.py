"""Logins of this machine (PAM). Its modules block, and may take long (a second factor): they run in a bounded pool."""

import asyncio
import pwd

import pam  # type: ignore[import-untyped]

from sanic_qserver.config.logins import Pam
from sanic_qserver.errors import ConfigError, GatewayError
from sanic_qserver.structs.canonical import folded
from sanic_qserver.structs.identity import Principal
from sanic_qserver.threads import BoundedPool


class PamSlow(GatewayError):
    """PAM did not come to an end in time."""

    status, code, title = 503, "pam_timeout", "The login took too long"


class PamLogin:
    """Knows the accounts that one PAM service lets in."""

    def __init__(self, config: Pam) -> None:
        self.name = config.name
        self.title = config.title or config.name
        self._config = config
        if "/" in config.service or config.service.startswith("."):
            raise ConfigError(f"[[auth.providers]] {config.name}: service is a name, not a path")
        self.pool = BoundedPool(config.threads, 8 * config.threads, "pam")

    async def login(self, username: str, password: str) -> Principal | None:
        """Who that is. Raises PamSlow (503) or Overloaded (503)."""
        if "\0" in username + password:
            return None
        work = self.pool.run(lambda: self._read_name(username, password))
        try:
            name = await asyncio.wait_for(work, self._config.timeout_s)
        except TimeoutError:
            raise PamSlow("The login took too long", headers={"Retry-After": "5"}) from None
        return Principal(name=name, provider=self.name) if name else None

    def _read_name(self, username: str, password: str) -> str:
        """The login as the accounts' own database spells it; "" for a wrong name or password."""
        # A conversation of its own for each login; no credentials are set up for the server's process.
        authenticate = pam.PamAuthenticator().authenticate
        if not authenticate(username, password, service=self._config.service, resetcreds=False):
            return ""
        try:
            name = pwd.getpwnam(username).pw_name
        except (KeyError, ValueError):  # PAM knows people whom this machine does not.
            return folded(username)
        return name if folded(name) == folded(username) else folded(username)
