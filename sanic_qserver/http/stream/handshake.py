"""The opening handshake of websockets, and how messages are framed after it.

Not Sanic's handshake: that negotiates no compression (permessage-deflate, RFC 7692). Here no context is taken over from
message to message in either direction: a message is compressed once for all watchers, and a connection that compresses
holds no more memory than one that does not.
"""

import struct
import zlib
from functools import lru_cache
from typing import Any

from sanic import Request
from sanic.exceptions import SanicException
from sanic.log import websockets_logger
from sanic.server.protocols import websocket_protocol as sanic_websockets
from sanic.server.protocols.websocket_protocol import WebSocketProtocol
from sanic.server.websockets.impl import WebsocketImplProtocol
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

from sanic_qserver.manager.live.broadcaster import Framing, Message

_COMPRESS_FROM = 256  # Bytes: a line of console output is shorter, and would hardly get smaller.
_TAIL = b"\x00\x00\xff\xff"  # RFC 7692, section 7.2.1: it is not sent.
_FIN_TEXT = 0x81
_COMPRESSED = 0x40  # RSV1


def frame(payload: bytes, first: int = _FIN_TEXT) -> bytes:
    """One unmasked frame (RFC 6455, section 5.2)."""
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65_536:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload


def text_frame(message: Message) -> bytes:
    """The message as a text frame."""
    return frame(message.body)


def compressed_frame(message: Message) -> bytes:
    """The message as a text frame, compressed where that pays."""
    if len(message.body) < _COMPRESS_FROM:
        return frame(message.body)
    return _compressed(message)


@lru_cache(maxsize=16)  # The state that watchers begin with is the same for all who begin together.
def _compressed(message: Message) -> bytes:
    compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
    payload = compressor.compress(message.body) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return frame(payload.removesuffix(_TAIL), _FIN_TEXT | _COMPRESSED)


# Written past Sanic's websocket, whose send() costs 18 µs for a watcher and line, this 0.4. Complete frames do not
# interleave with its pings.
PLAIN = Framing(text_frame)
COMPRESSED = Framing(compressed_frame)


def framing_of(websocket: WebsocketImplProtocol) -> Framing:
    """The framing that was negotiated. For a smaller window than ours plain frames, which are always allowed."""
    extensions: list[Any] = list(getattr(websocket.ws_proto, "extensions", ()))
    windows = [getattr(extension, "local_max_window_bits", 0) for extension in extensions]
    return COMPRESSED if windows == [15] else PLAIN


async def shake_hands(request: Request, subprotocols: list[str] | None) -> WebsocketImplProtocol:
    """Accept the websocket, on a connection of Sanic's. Raises SanicException when the request is no good handshake."""
    protocol = request.transport.get_protocol()
    assert isinstance(protocol, WebSocketProtocol)  # noqa: S101  # enable_websocket() was called
    deflate = ServerPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True)
    # By the name under which Sanic found it: it moved between the versions of `websockets`.
    ws_proto = sanic_websockets.ServerProtocol(  # type: ignore[attr-defined]
        max_size=protocol.websocket_max_size,
        subprotocols=subprotocols,
        extensions=[deflate],
        state=sanic_websockets.OPEN,
        logger=websockets_logger,
    )
    response = ws_proto.accept(protocol.sanic_request_to_ws_request(request))
    if response.status_code != 101:
        raise SanicException("This is not a handshake of a websocket", response.status_code)
    lines = [
        f"HTTP/1.1 101 {response.reason_phrase}",
        *(f"{name}: {value}" for name, value in response.headers.items()),
    ]
    await protocol.send(  # type: ignore[no-untyped-call]
        ("\r\n".join(lines) + "\r\n\r\n").encode()
    )
    websocket = WebsocketImplProtocol(
        ws_proto,
        ping_interval=protocol.websocket_ping_interval,
        ping_timeout=protocol.websocket_ping_timeout,
        close_timeout=protocol.websocket_timeout,
    )
    protocol.websocket = websocket
    await websocket.connection_made(protocol, loop=protocol.loop)
    return websocket
