"""Configuration -> providers. Each kind's module is imported when the configuration names it."""

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sanic_qserver.auth.logins import Logins
from sanic_qserver.auth.providers.provider import AuthProvider, ExternalLogin, PasswordLogin
from sanic_qserver.auth.providers.single_user import SingleUserKey
from sanic_qserver.auth.tokens.begun import BegunLogins
from sanic_qserver.auth.tokens.one_time import MemoryOneTime, OneTime, RedisOneTime
from sanic_qserver.auth.tokens.tickets import Tickets
from sanic_qserver.config import logins as kinds
from sanic_qserver.config.settings import Config
from sanic_qserver.errors import ConfigError
from sanic_qserver.shared_state.redis import SharedRedis
from sanic_qserver.structs.identity import Access, Principal

if TYPE_CHECKING:
    from sanic_qserver.auth.accounts import Accounts
    from sanic_qserver.auth.providers.passwords import Passwords

RESERVED = frozenset({"service", "__anonymous__"})


class _Workshop:
    """What providers are made with. Passwords are hashed in one pool for all of them."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.closers: list[Callable[[], None]] = []
        self.async_closers: list[Callable[[], Awaitable[None]]] = []
        self._passwords: Passwords | None = None

    @property
    def passwords(self) -> "Passwords":
        if self._passwords is None:
            from sanic_qserver.auth.providers.passwords import Passwords  # noqa: PLC0415  # argon2, when it is needed

            self._passwords = Passwords(self.config.auth.passwords)
            self.closers.append(self._passwords.close)
        return self._passwords


def build_logins(
    config: Config,
    admit: Callable[[Principal], Access],
    custom: Sequence[AuthProvider] = (),
    clock: Callable[[], float] = time.time,
    shared: SharedRedis | None = None,
) -> Logins:
    """The logins that the configuration asks for. Raises ConfigError.

    `admit` is the policy's `access_of`. `custom` are providers of custom modules: those that people can log in with are
    ways in; a configured name stands.
    """
    _check_names(config)
    workshop = _Workshop(config)
    made = [_made(provider, workshop) for provider in config.auth.providers]
    accounts = _accounts(config, clock)
    one_time: OneTime
    if accounts is not None:
        one_time = accounts.one_time
    else:
        one_time = MemoryOneTime(clock) if shared is None else RedisOneTime(shared, clock)
    single_user = None if config.auth.providers else SingleUserKey(config.auth.single_user_api_key)
    recognisers: list[AuthProvider] = [
        *([accounts.sessions, accounts.keys] if accounts is not None else ()),
        *([single_user] if single_user is not None else ()),
        *(one for one in made if isinstance(one, AuthProvider)),
        Tickets(one_time),
    ]
    ways: dict[str, PasswordLogin | ExternalLogin] = {}
    for one in (*made, *custom):
        if isinstance(one, (PasswordLogin, ExternalLogin)):
            ways.setdefault(one.name, one)
    return Logins(
        config=config,
        ways=ways,
        recognisers=recognisers,
        optional_accounts=accounts,
        single_user=single_user,
        one_time=one_time,
        access_of=admit,
        closers=workshop.closers,
        async_closers=workshop.async_closers,
        clock=clock,
        begun=BegunLogins(clock),
    )


def _accounts(config: Config, clock: Callable[[], float]) -> "Accounts | None":
    if not config.auth.providers and not config.database.url:
        return None
    from sanic_qserver.auth.accounts import Accounts  # noqa: PLC0415  # brings SQLAlchemy: 0.5 s, 25 MB

    return Accounts(config, clock)


def _check_names(config: Config) -> None:
    names = [provider.name for provider in config.auth.providers]
    for name in names:
        if name in RESERVED or names.count(name) > 1:
            raise ConfigError(f"[[auth.providers]] name '{name}' is taken")


def _made(config: kinds.AnyProvider, workshop: _Workshop) -> object:
    match config:
        case kinds.Dictionary():
            from sanic_qserver.auth.providers.dictionary import DictionaryLogin  # noqa: PLC0415

            return DictionaryLogin(config, workshop.passwords)
        case kinds.Ldap():
            with needs("ldap", config.name):
                from sanic_qserver.auth.providers.ldap import LdapLogin  # noqa: PLC0415
            ldap = LdapLogin(config)
            workshop.closers.append(ldap.pool.close)
            return ldap
        case kinds.Pam():
            with needs("pam", config.name):
                from sanic_qserver.auth.providers.pam import PamLogin  # noqa: PLC0415
            pam = PamLogin(config)
            workshop.closers.append(pam.pool.close)
            return pam
        case kinds.Oidc():
            from sanic_qserver.auth.providers.oidc import OidcLogin  # noqa: PLC0415

            oidc = OidcLogin(config)
            workshop.async_closers.append(oidc.provider.close)
            return oidc
        case kinds.OidcBearer():
            from sanic_qserver.auth.providers.oidc_bearer import OidcTokens  # noqa: PLC0415

            bearer = OidcTokens(config)
            workshop.async_closers.append(bearer.provider.close)
            return bearer
        case kinds.Saml():
            with needs("saml", config.name):
                from sanic_qserver.auth.providers.saml import SamlLogin  # noqa: PLC0415
            saml = SamlLogin(config)
            workshop.closers.append(saml.pool.close)
            return saml
        case kinds.ProxyIdentity():
            from sanic_qserver.auth.providers.proxy import ProxyHeaders  # noqa: PLC0415

            return ProxyHeaders(config)
        case kinds.ClientCertificate():
            from sanic_qserver.auth.providers.certificate import CertificateLogin  # noqa: PLC0415

            return CertificateLogin(config)
        case _:
            from sanic_qserver.auth.providers.custom import custom_provider  # noqa: PLC0415

            return custom_provider(config)


@contextmanager
def needs(extra: str, provider: str) -> Iterator[None]:
    """Say which extra is missing. Raises ConfigError."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"[[auth.providers]] {provider}: {error.name} is not installed: pip install 'sanic-qserver[{extra}]'"
        ) from None
