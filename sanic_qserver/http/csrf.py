"""What browsers need guarding against: other sites' pages that make them send what they hold.

A cookie, and the right of the anonymous, go along with whatever page causes a request: "ambient". So a request that
changes something must then come from a page of this server or of an allowed origin, and with a cookie it must carry
the session's CSRF value too (header `X-CSRF`), which other sites cannot read. A key or token is sent on purpose.
"""

import hmac
from urllib.parse import parse_qs, urlsplit

from sanic import Request

from sanic_qserver.api.endpoint import Endpoint, ForeignForms, Stream
from sanic_qserver.auth.logins import Logins
from sanic_qserver.config.settings import ServerConfig
from sanic_qserver.errors import Forbidden
from sanic_qserver.http.hosts import Hosts
from sanic_qserver.http.server.request import DirectRequest
from sanic_qserver.structs.identity import PUBLIC, Access, Credential, CredentialKind

AMBIENT = frozenset({CredentialKind.COOKIE, CredentialKind.ANONYMOUS})
NOSNIFF = {"X-Content-Type-Options": "nosniff"}
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def warn_of_origins(allow_origins: tuple[str, ...]) -> list[str]:
    """What `check` and `/readyz` say of the setting."""
    if "*" not in allow_origins:
        return []
    text = (
        "[server] allow_origins = ['*'] lets every web page call this server with what anonymous callers may do. It "
        "never counts for cookies and for logins of a proxy: name the pages for these"
    )
    return [text]


class Browsers:
    """Checks requests with ambient rights, and the origin of websockets."""

    def __init__(self, logins: Logins, config: ServerConfig) -> None:
        self._logins = logins
        self._hosts = Hosts(config)
        self._any_origin = "*" in config.allow_origins
        self._origins = frozenset(origin.rstrip("/").lower() for origin in config.allow_origins)

    def check(self, request: Request, row: Endpoint | Stream, credential: Credential, access: Access) -> None:
        """Raises Forbidden for a change that another site's page may have caused, HostNotAllowed for a foreign name."""
        assert isinstance(request, DirectRequest)  # noqa: S101  # the application has no other
        self._hosts.check(request.find_site().host)
        is_websocket = isinstance(row, Stream) and row.is_websocket and "sec-websocket-key" in request.headers
        if isinstance(row, ForeignForms) or not (row.changes or is_websocket or request.method not in _SAFE):
            return
        has_cookie = credential.kind is CredentialKind.COOKIE
        # Whoever has an identity that goes along by itself is never open to the pages of everybody.
        is_nobody = access.principal.provider == PUBLIC.provider and access.principal.name == PUBLIC.name
        if not self.is_known_origin(request, may_be_any=is_nobody and not has_cookie):
            raise Forbidden("Not enough permissions: the request comes from a page of another site")
        if has_cookie:
            if row.changes or request.method not in _SAFE:
                self._check_proof(request, credential, access)
        elif row.changes and request.method in _SAFE and "origin" not in request.headers and _is_browser(request):
            # An image or a link of any page causes this, and nothing in it tells which page.
            raise Forbidden("Not enough permissions: what changes something is sent as POST, or with a key or token")

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

    def _check_proof(self, request: Request, credential: Credential, access: Access) -> None:
        if not hmac.compare_digest(_sent(request).encode(), self._csrf(credential, access).encode()):
            raise Forbidden("Not enough permissions: send the CSRF value of the session as header X-CSRF")

    def _csrf(self, credential: Credential, access: Access) -> str:
        session = access.principal.session_id
        if session and self._logins.has_accounts:
            return self._logins.accounts.sessions.derive_csrf(session)
        return self._logins.single_user.csrf(credential.value) if self._logins.single_user is not None else "none"


def _is_browser(request: Request) -> bool:
    """Whether a browser may have sent this. All of them name themselves Mozilla, and no image or link changes that.

    Programs use GET for changes too: the manual of bluesky-httpserver 0.0.4 reloads the permissions so.
    """
    headers = request.headers
    named = str(headers.get("user-agent", "")).lstrip().lower().startswith("mozilla/")
    return named or "sec-fetch-site" in headers or "referer" in headers or "cookie" in headers


def _sent(request: Request) -> str:
    if sent := request.headers.get("x-csrf"):
        return str(sent)
    return parse_qs(request.query_string).get("csrf", [""])[0] if "csrf=" in request.query_string else ""
