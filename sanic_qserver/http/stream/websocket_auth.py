"""Admission of websockets: the same gate as for HTTP, after the handshake, so that browsers see why they are refused.

A credential may stand wherever `credentials` looks (header, query, subprotocol, cookie), or, when the handshake
carries none and the anonymous may not enter, in the first message within 10 s: `{"type": "auth", "api_key": "…"}`,
with `access_token` or `ticket` in its place. Success is silent. The page's origin must be this server's or an allowed
one: browsers send cookies along with anybody's handshake.
Scopes are checked whichever way the credential came.
"""

import msgspec
from sanic import Request
from sanic.server.websockets.impl import WebsocketImplProtocol

from sanic_qserver.api.call import Call
from sanic_qserver.api.endpoint import Stream
from sanic_qserver.errors import Forbidden, GatewayError, NotAuthenticated, ShuttingDown, TooManyRequests
from sanic_qserver.http.credentials import PROTOCOL, credential, read_credential
from sanic_qserver.http.gate import Gate
from sanic_qserver.structs.identity import Credential, CredentialKind

FIRST_MESSAGE_S = 10.0

# Close codes. Clients take the first two as final and do not connect again.
NO_CREDENTIAL = 4401
BAD_CREDENTIAL = 4001
FORBIDDEN = 4403
TOO_MANY = 4429
BAD_REQUEST = 4400


class _FirstMessage(msgspec.Struct, frozen=True, tag_field="type", tag="auth"):
    api_key: str = ""
    access_token: str = ""
    ticket: str = ""


_decode = msgspec.json.Decoder(_FirstMessage).decode


async def admit_websocket(request: Request, websocket: WebsocketImplProtocol, row: Stream, gate: Gate) -> Call | None:
    """Who watches, when they may. None when they may not: then the websocket is closed and says why."""
    if not gate.browsers.is_known_origin(request):
        why = Forbidden("The page that opened this websocket is not of an allowed origin")
        gate.deny(request, row, None, why)
        await refuse(websocket, why)
        return None
    sent: Credential | None = None
    try:
        sent = read_credential(request)
        is_anonymous = sent.kind is CredentialKind.ANONYMOUS
        call, _ = await gate.admit(request, row, credential=sent, may_follow=is_anonymous)
    except GatewayError as error:
        if sent is None or not (is_anonymous and isinstance(error, NotAuthenticated)):
            await refuse(websocket, error)
            return None
    else:
        return call
    first = await _credential_sent(request, websocket)
    if first is None:
        missing = NotAuthenticated("Not authenticated: no credential was sent")
        gate.deny(request, row, None, missing)
        await close(websocket, NO_CREDENTIAL, missing.detail)
        return None
    try:
        call, _ = await gate.admit(request, row, credential=first)
    except GatewayError as error:
        await refuse(websocket, error)
        return None
    return call


async def _credential_sent(request: Request, websocket: WebsocketImplProtocol) -> Credential | None:
    """The credential in the first message; None when there is none in time, or one too long to be good."""
    text = await websocket.recv(FIRST_MESSAGE_S)
    try:
        message = _decode(text or b"")
        if message.api_key:
            return credential(request, CredentialKind.API_KEY, message.api_key)
        if message.access_token:
            return credential(request, CredentialKind.BEARER, message.access_token)
        if message.ticket:
            return credential(request, CredentialKind.TICKET, message.ticket)
    except (msgspec.MsgspecError, GatewayError):
        return None
    return None


async def refuse(websocket: WebsocketImplProtocol, error: GatewayError) -> None:
    """Close with the code that stands for the error."""
    await close(websocket, close_code(error), error.detail)


def close_code(error: GatewayError) -> int:
    """The websocket's close code for an error."""
    if isinstance(error, NotAuthenticated):
        return BAD_CREDENTIAL
    if isinstance(error, TooManyRequests):
        return TOO_MANY
    if isinstance(error, ShuttingDown):
        return 1001
    return FORBIDDEN if error.status == 403 else BAD_REQUEST if error.status < 500 else 1013


async def close(websocket: WebsocketImplProtocol, code: int, reason: str) -> None:
    """Close. The reason is cut to what a close frame holds: 123 bytes (RFC 6455, section 5.5)."""
    await websocket.close(code, reason.encode()[:123].decode(errors="ignore"))


def choose_subprotocols(request: Request) -> list[str] | None:
    """The subprotocols to offer in the handshake; None for none. One of them must be among the client's.

    Who sends a credential as a subprotocol sends `qserver` too: that one is chosen, so that no secret comes back.
    """
    offered = request.headers.get("sec-websocket-protocol", "")
    return [PROTOCOL] if PROTOCOL in (name.strip() for name in offered.split(",")) else None
