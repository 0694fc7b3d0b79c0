"""The interfaces of login providers, and the chain that asks each in turn."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from sanic_qserver.errors import InvalidAccessToken, InvalidApiKey, NotAuthenticated
from sanic_qserver.structs.identity import PUBLIC, Credential, CredentialKind, Principal


@runtime_checkable
class AuthProvider(Protocol):
    """Recognises one kind of credential.

    A Principal means "mine and good"; None means "not mine, ask the next";
    NotAuthenticated means "mine and bad", and nobody else is asked.

    One that looks at nothing but kind, scheme and value of a credential says so with `sees_only_value = True`: then its
    answer is used again for a second. Without it, it is asked at each request that comes to it. One that knows some
    kinds of credentials only may name them in `kinds`, and is not asked about others.
    """

    async def identify(self, credential: Credential) -> Principal | None:
        """Who sent this."""
        ...


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


class Providers:
    """Asks providers in order. An unrecognised credential is an error; no credential is the public."""

    def __init__(self, providers: Sequence[AuthProvider]) -> None:
        self.providers = list(providers)
        self.version = 0

    def forget(self) -> None:
        """Invalidate earlier answers: something was revoked."""
        self.version += 1

    async def identify(self, credential: Credential) -> tuple[Principal, bool]:
        """Who sent this, and whether the same credential from elsewhere would be answered the same.

        Raises NotAuthenticated for a credential that no provider recognises.
        """
        is_same_for_all = True
        for provider in self.providers:
            kinds = getattr(provider, "kinds", None)
            if kinds is not None and credential.kind not in kinds:
                continue
            is_same_for_all = is_same_for_all and getattr(provider, "sees_only_value", False)
            if (principal := await provider.identify(credential)) is not None:
                return principal, is_same_for_all
        if credential.kind is CredentialKind.ANONYMOUS:
            return PUBLIC, is_same_for_all
        if credential.kind is CredentialKind.API_KEY:
            raise InvalidApiKey
        if credential.kind is CredentialKind.BEARER:
            raise InvalidAccessToken
        raise NotAuthenticated(_say_unknown(credential))


# Registered or common words before a credential. Another word may be the credential itself, sent without one.
_WORDS = frozenset({"apikey", "bearer", "basic", "digest", "negotiate", "ntlm", "token", "dpop", "oauth", "hawk"})


def _say_unknown(credential: Credential) -> str:
    if credential.kind is CredentialKind.OTHER and credential.scheme not in _WORDS:
        return "The header Authorization holds no kind of credential that is known here: send 'ApiKey …' or 'Bearer …'"
    return f"No provider knows credentials of the kind '{credential.scheme or credential.kind}'"
