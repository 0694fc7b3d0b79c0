"""How messages are framed on a websocket after its handshake (`http.server.websocket`)."""

import struct
import zlib
from functools import lru_cache
from typing import Any

from sanic.server.websockets.impl import WebsocketImplProtocol

from sanic_qserver.manager.live.subscriber import Framing, Message

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


def choose_framing(websocket: WebsocketImplProtocol) -> Framing:
    """The framing that was negotiated. For a smaller window than ours plain frames, which are always allowed."""
    extensions: list[Any] = list(getattr(websocket.ws_proto, "extensions", ()))
    windows = [getattr(extension, "local_max_window_bits", 0) for extension in extensions]
    return COMPRESSED if windows == [15] else PLAIN
