"""The one API key of a server without logins."""

import hmac
import secrets

from sanic_qserver.structs.identity import SINGLE_USER, Credential, CredentialKind, Principal


class SingleUserKey:
    """Knows one key. Compared in constant time; the key itself is kept for the start-up message only."""

    def __init__(self, key: str = "") -> None:
        self.was_made_here = not key
        self.key = key or secrets.token_hex(24)

    async def identify(self, credential: Credential) -> Principal | None:
        """The single user, or None for any other key."""
        if credential.kind is not CredentialKind.API_KEY:
            return None
        good = hmac.compare_digest(credential.value.encode(), self.key.encode())
        return SINGLE_USER if good else None
