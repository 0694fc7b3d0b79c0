"""The one API key of a server without logins, and the cookie of a browser that has shown it."""

import hashlib
import hmac
import secrets
import time

from sanic_qserver.structs.identity import SINGLE_USER, Credential, CredentialKind, Principal


class SingleUserKey:
    """Knows one key. Compared in constant time; the key itself is kept for the start-up message only.

    The cookie is signed with the key, so that all workers know it and nothing is stored: it ends with its age or
    when the key is changed.
    """

    sees_only_value = True

    def __init__(self, key: str = "") -> None:
        self.was_made_here = not key
        self.key = key or secrets.token_hex(24)

    async def identify(self, credential: Credential) -> Principal | None:
        """The single user, or None for any other key."""
        if credential.kind is CredentialKind.API_KEY:
            return SINGLE_USER if hmac.compare_digest(credential.value.encode(), self.key.encode()) else None
        if credential.kind is CredentialKind.COOKIE:
            return SINGLE_USER if self._is_cookie(credential.value) else None
        return None

    def cookie(self, expires_at: float) -> str:
        """A cookie's value, good until a POSIX time."""
        text = f"{int(expires_at)}.{secrets.token_hex(8)}"
        return f"{text}.{self._sign('cookie', text)}"

    def csrf(self, cookie: str) -> str:
        """What a page sends along with the cookie when something is to change."""
        return self._sign("csrf", cookie)

    def _is_cookie(self, value: str) -> bool:
        text, _, signature = value.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._sign("cookie", text).encode()):
            return False
        return int(text.partition(".")[0]) > time.time()

    def _sign(self, purpose: str, text: str) -> str:
        return hmac.new(self.key.encode(), f"{purpose}\0{text}".encode(), hashlib.sha256).hexdigest()
