"""What `/api/auth/…` works with: the ways to log in, and the accounts, where there are any.

A server without logins has one key, no database, and imports nothing that it does not need.
"""

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from sanic_qserver.auth.providers.provider import AuthProvider, ExternalLogin, PasswordLogin
from sanic_qserver.auth.providers.single_user import SingleUserKey
from sanic_qserver.auth.tokens.begun import BegunLogins
from sanic_qserver.auth.tokens.one_time import OneTime
from sanic_qserver.config.settings import Config
from sanic_qserver.errors import Conflict, NotFound
from sanic_qserver.structs.identity import Access, Principal
from sanic_qserver.texts import Text

OIDC_NAMES_BY_PREFERRED_USERNAME = "oidc_names_by_preferred_username"  # A fact that a migration wrote.

if TYPE_CHECKING:
    from sanic_qserver.auth.accounts import Accounts


@runtime_checkable
class KeepsOldNames(Protocol):
    """An identity provider whose people had other names by default before."""

    def keep_old_names(self) -> None:
        """Go on with those."""


class NoLogins(Conflict):
    """The server has one API key and no accounts."""

    code, title = "no_logins", "This server has no logins"


@dataclass(frozen=True, kw_only=True)
class Logins:
    """The ways to log in, by name. One an application.

    `access_of` is the policy's: what somebody may do now; it raises NotAuthenticated for one who may not enter.
    """

    config: Config
    ways: Mapping[str, PasswordLogin | ExternalLogin]
    recognisers: Sequence[AuthProvider]
    optional_accounts: "Accounts | None"
    single_user: SingleUserKey | None
    one_time: OneTime
    access_of: Callable[[Principal], Access]
    closers: Sequence[Callable[[], None]]
    async_closers: Sequence[Callable[[], Awaitable[None]]]
    clock: Callable[[], float]
    begun: BegunLogins

    @property
    def accounts(self) -> "Accounts":
        """The accounts. Raises NoLogins (409) on a server that has none."""
        if self.optional_accounts is None:
            raise NoLogins(
                "This server has one API key and no accounts: it makes no tokens and no further keys. "
                "Configure [[auth.providers]], or [database] url for keys"
            )
        return self.optional_accounts

    @property
    def has_accounts(self) -> bool:
        """Whether there is a database of logins."""
        return self.optional_accounts is not None

    def way(self, name: str) -> PasswordLogin | ExternalLogin:
        """The way to log in of this name. Raises NotFound."""
        if name not in self.ways:
            raise NotFound(f"{Text.NOT_FOUND}: there is no provider '{name[:64]}'")
        return self.ways[name]

    def on_revocation(self, forget: Callable[[], None]) -> None:
        """Call this whenever a session or key was taken away, here or by another worker."""
        if self.optional_accounts is not None:
            self.optional_accounts.credential_cache.listen(forget)

    async def open(self) -> None:
        """Open the database, when there is one."""
        if self.optional_accounts is None:
            return
        await self.optional_accounts.open()
        if OIDC_NAMES_BY_PREFERRED_USERNAME in self.optional_accounts.facts:
            for one in (*self.ways.values(), *self.recognisers):
                if isinstance(provider := getattr(one, "provider", None), KeepsOldNames):
                    provider.keep_old_names()

    async def close(self) -> None:
        """Close what was opened."""
        for action in self.closers:
            action()
        for async_action in self.async_closers:
            await async_action()
        if self.optional_accounts is not None:
            await self.optional_accounts.close()


def new_secret() -> str:
    """A secret for one use."""
    return secrets.token_urlsafe(32)
