"""The protocols of identification, and the chain that asks each provider in turn."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from sanic_qserver.errors import InvalidAccessToken, InvalidApiKey, NotAuthenticated
from sanic_qserver.structs.identity import PUBLIC, Credential, CredentialKind, Principal


@runtime_checkable
class AuthProvider(Protocol):
    """Recognises one kind of credential.

    A Principal means "mine and good"; None means "not mine, ask the next";
    NotAuthenticated means "mine and bad", and nobody else is asked.
    """

    async def identify(self, credential: Credential) -> Principal | None:
        """Who sent this."""
        ...


class Providers:
    """Asks providers in order. Nobody's credential is an error; no credential is the public."""

    def __init__(self, providers: Sequence[AuthProvider]) -> None:
        self.providers = list(providers)

    async def identify(self, credential: Credential) -> Principal:
        """Who sent this. Raises NotAuthenticated when nobody knows the credential."""
        for provider in self.providers:
            if (principal := await provider.identify(credential)) is not None:
                return principal
        if credential.kind is CredentialKind.ANONYMOUS:
            return PUBLIC
        if credential.kind is CredentialKind.API_KEY:
            raise InvalidApiKey
        if credential.kind is CredentialKind.BEARER:
            raise InvalidAccessToken
        raise NotAuthenticated(f"No provider knows credentials of the kind '{credential.scheme or credential.kind}'")
