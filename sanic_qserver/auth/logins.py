"""Everything that `/api/auth/…` works with: the ways to log in, and the accounts behind them where there are any.

A server without logins has one key, no database, and imports nothing that it does not need.
"""

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from sanic_qserver.auth.providers.provider import AuthProvider
from sanic_qserver.auth.providers.single_user import SingleUserKey
from sanic_qserver.auth.tokens.one_time import MemoryOneTime, OneTime
from sanic_qserver.config.settings import Config
from sanic_qserver.errors import Conflict, NotFound
from sanic_qserver.structs.identity import Access, Principal
from sanic_qserver.texts import Text

OIDC_NAMES_BY_PREFERRED_USERNAME = "oidc_names_by_preferred_username"  # A fact that a migration wrote.

if TYPE_CHECKING:
    from sanic_qserver.auth.accounts import Accounts


@runtime_checkable
class PasswordLogin(Protocol):
    """A provider that people give name and password to."""

    name: str
    title: str

    async def login(self, username: str, password: str) -> Principal | None:
        """Who that is; None for a wrong name or password, without telling which."""
        ...


@runtime_checkable
class ExternalLogin(Protocol):
    """A provider that people go to with a browser, and come back from with a code."""

    name: str
    title: str

    async def authorize_url(self, *, redirect_uri: str, state: str, nonce: str, verifier: str) -> str:
        """Where the browser goes. `verifier` is PKCE's: its hash is in the URL."""
        ...

    async def finish(self, *, code: str, redirect_uri: str, nonce: str, verifier: str) -> Principal:
        """Who came back. Raises LoginRefused."""
        ...


@runtime_checkable
class KeepsOldNames(Protocol):
    """An identity provider whose people had other names by default before."""

    def keep_old_names(self) -> None:
        """Go on with those."""
        ...


class NoLogins(Conflict):
    """The server has one API key and no accounts."""

    code, title = "no_logins", "This server has no logins"


class Logins:
    """The ways to log in, by name. One an application; `admit` is the policy's say."""

    def __init__(
        self,
        config: Config,
        ways: Mapping[str, PasswordLogin | ExternalLogin],
        recognisers: list[AuthProvider],
        accounts: "Accounts | None",
        single_user: SingleUserKey | None,
        clock: Callable[[], float],
    ) -> None:
        self.config = config
        self.ways = dict(ways)
        self.recognisers = recognisers
        self.single_user = single_user
        self.clock = clock
        self.one_time: OneTime = accounts.one_time if accounts is not None else MemoryOneTime(clock)
        self._accounts = accounts
        self._admit: Callable[[Principal], Access] | None = None
        self._close: list[Callable[[], None]] = []
        self._async_close: list[Callable[[], Awaitable[None]]] = []

    @property
    def accounts(self) -> "Accounts":
        """The accounts. Raises NoLogins (409) on a server that has none."""
        if self._accounts is None:
            raise NoLogins(
                "This server has one API key and no accounts: it makes no tokens and no further keys. "
                "Configure [[auth.providers]], or [database] url for keys"
            )
        return self._accounts

    @property
    def has_accounts(self) -> bool:
        """Whether there is a database of logins."""
        return self._accounts is not None

    def way(self, name: str) -> PasswordLogin | ExternalLogin:
        """The way to log in of this name. Raises NotFound."""
        if name not in self.ways:
            raise NotFound(f"{Text.NOT_FOUND}: there is no provider '{name[:64]}'")
        return self.ways[name]

    def add_ways(self, providers: Sequence[object]) -> None:
        """Take those of custom modules' providers that people can log in with. A configured name stands."""
        for provider in providers:
            if isinstance(provider, (PasswordLogin, ExternalLogin)):
                self.ways.setdefault(provider.name, provider)

    def ask(self, admit: Callable[[Principal], Access]) -> None:
        """Take the policy's `access_of`."""
        self._admit = admit

    def access_of(self, principal: Principal) -> Access:
        """What somebody may do now. Raises NotAuthenticated for one who may not enter."""
        assert self._admit is not None  # noqa: S101  # `create_app` gives it
        return self._admit(principal)

    def on_revocation(self, forget: Callable[[], None]) -> None:
        """Call this whenever a session or key was taken away, here or by another worker."""
        if self._accounts is not None:
            self._accounts.remembered.listen(forget)

    def close_with(
        self, actions: Sequence[Callable[[], None]], async_actions: Sequence[Callable[[], Awaitable[None]]]
    ) -> None:
        """Do these when the server stops."""
        self._close.extend(actions)
        self._async_close.extend(async_actions)

    async def open(self) -> None:
        """Open the database, when there is one."""
        if self._accounts is None:
            return
        await self._accounts.open()
        if OIDC_NAMES_BY_PREFERRED_USERNAME in self._accounts.facts:
            for one in (*self.ways.values(), *self.recognisers):
                if isinstance(provider := getattr(one, "provider", None), KeepsOldNames):
                    provider.keep_old_names()

    async def close(self) -> None:
        """Close what was opened."""
        for action in self._close:
            action()
        for async_action in self._async_close:
            await async_action()
        if self._accounts is not None:
            await self._accounts.close()


def new_secret() -> str:
    """A secret for one use."""
    return secrets.token_urlsafe(32)
