"""What browsers need guarding against: other sites' pages that make them send what they hold.

A cookie, and the right of the anonymous, go along with whatever page causes a request: "ambient". So a request that
changes something must then come from a page of this server or of an allowed origin, and with a cookie it must carry
the session's CSRF value too (header `X-CSRF`), which other sites cannot read. A key or token is sent on purpose.
"""

import hmac
from urllib.parse import parse_qs, urlsplit

from sanic import Request

from sanic_qserver.auth.logins import Logins
from sanic_qserver.errors import Forbidden
from sanic_qserver.structs.identity import Access, Credential, CredentialKind

AMBIENT = frozenset({CredentialKind.COOKIE, CredentialKind.ANONYMOUS})
NOSNIFF = {"X-Content-Type-Options": "nosniff"}
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Browsers:
    """Checks requests with ambient rights, and the origin of websockets."""

    def __init__(self, logins: Logins, allow_origins: tuple[str, ...]) -> None:
        self._logins = logins
        self._any_origin = "*" in allow_origins
        self._origins = frozenset(origin.rstrip("/").lower() for origin in allow_origins)

    def check(self, request: Request, credential: Credential, access: Access) -> None:
        """Raises Forbidden for a change that another site's page may have caused."""
        if request.method in _SAFE:
            return
        has_cookie = credential.kind is CredentialKind.COOKIE
        if not self.is_known_origin(request, may_be_any=not has_cookie):
            raise Forbidden("Not enough permissions: the request comes from a page of another site")
        if has_cookie and not hmac.compare_digest(_sent(request).encode(), self._csrf(credential, access).encode()):
            raise Forbidden("Not enough permissions: send the CSRF value of the session as header X-CSRF")

    def is_known_origin(self, request: Request, *, may_be_any: bool = True) -> bool:
        """Whether the page behind the request is ours or an allowed one. Programs send no origin and pass."""
        origin = request.headers.get("origin")
        if origin is None:
            return True
        if (self._any_origin and may_be_any) or origin.lower() in self._origins:
            return True
        try:
            host = urlsplit(origin).netloc.lower()
        except ValueError:  # "http://["
            return False
        return bool(host) and host in (request.headers.get("host", "").lower(), request.host.lower())

    def _csrf(self, credential: Credential, access: Access) -> str:
        session = access.principal.session_id
        if session and self._logins.has_accounts:
            return self._logins.accounts.sessions.csrf_of(session)
        return self._logins.single_user.csrf(credential.value) if self._logins.single_user is not None else "none"


def _sent(request: Request) -> str:
    if sent := request.headers.get("x-csrf"):
        return str(sent)
    return parse_qs(request.query_string).get("csrf", [""])[0] if "csrf=" in request.query_string else ""
