"""What the caller sent to show who they are: read from a request, judged elsewhere.

Order: query (`api_key`, `access_token`, `ticket`), header `Authorization` (scheme in any case), for websockets
`Sec-WebSocket-Protocol` (browsers can set nothing else there), session cookie; else nothing.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from sanic import Request

from sanic_qserver.api.auth.cookies import SESSION_COOKIE
from sanic_qserver.errors import BodyTooLarge, NotAuthenticated
from sanic_qserver.structs.identity import Credential, CredentialKind
from sanic_qserver.structs.networks import UNIX

_LONGEST = 8192
_NO_CERTIFICATE: Mapping[str, Any] = {}
_KINDS = {"apikey": CredentialKind.API_KEY, "bearer": CredentialKind.BEARER}
_IN_QUERY = {
    "api_key": CredentialKind.API_KEY,
    "access_token": CredentialKind.BEARER,
    "ticket": CredentialKind.TICKET,
}
# Subprotocols that carry a credential: `new WebSocket(url, ["qserver", "qserver.access-token.<token>"])`.
PROTOCOL = "qserver"
_IN_PROTOCOL = {
    "qserver.api-key.": CredentialKind.API_KEY,
    "qserver.access-token.": CredentialKind.BEARER,
    "qserver.ticket.": CredentialKind.TICKET,
}


def read_credential(request: Request) -> Credential:
    """What the request carries. Raises NotAuthenticated (401) for one that is too long to be good."""
    query = request.query_string
    if query and ("api_key=" in query or "access_token=" in query or "ticket=" in query):
        for name, value in _pairs(query):
            if name in _IN_QUERY and value:
                return credential(request, _IN_QUERY[name], value)
    headers = request.headers
    if (header := headers.get("authorization")) is not None and header:
        scheme, _, value = header.partition(" ")
        scheme = scheme.lower()
        return credential(request, _KINDS.get(scheme, CredentialKind.OTHER), value.strip(), scheme)
    if (offered := headers.get("sec-websocket-protocol")) is not None:
        for protocol in offered.split(","):
            for prefix, kind in _IN_PROTOCOL.items():
                if protocol.strip().startswith(prefix):
                    return credential(request, kind, protocol.strip()[len(prefix) :])
    if SESSION_COOKIE in headers.get("cookie", "") and (cookie := request.cookies.get(SESSION_COOKIE)):
        return credential(request, CredentialKind.COOKIE, cookie)
    return credential(request, CredentialKind.ANONYMOUS, "")


def _pairs(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, max_num_fields=1000)
    except ValueError:
        raise BodyTooLarge("More than 1000 query parameters") from None


def credential(request: Request, kind: CredentialKind, value: str, scheme: str = "") -> Credential:
    """A credential of this request. Raises NotAuthenticated when it is too long or no text: no provider sees it."""
    if len(value) > _LONGEST:
        raise NotAuthenticated("The credential is too long")
    if not (value.isprintable() and scheme.isascii()):
        raise NotAuthenticated("Could not validate credentials")
    return Credential(
        kind=kind,
        value=value,
        scheme=scheme or kind.value,
        address=request.client_ip,
        peer=request.ip or UNIX,
        headers=request.headers,
        certificate=_find_certificate(request) if kind is CredentialKind.ANONYMOUS else _NO_CERTIFICATE,
    )


def _find_certificate(request: Request) -> Mapping[str, Any]:
    """What the client has shown and TLS has checked. Only without another credential: who sends one means that."""
    transport: Any = request.transport
    return transport.get_extra_info("peercert") or _NO_CERTIFICATE
