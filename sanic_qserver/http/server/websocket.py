"""Websockets below their messages: the opening handshake, and a check of what comes in as it arrives.

The handshake is not Sanic's, which negotiates no compression (permessage-deflate, RFC 7692). Here no context is taken
over from message to message in either direction: a message is compressed once for all subscribers, and a connection
that compresses holds no more memory than one that does not.

`Websocket` checks frames before Sanic 25.12 gets them: Sanic decodes text in a task of its own, whose failure leaves
the connection open (RFC 6455, section 8.1: 1007 at once), counts neither fragments nor pings that wait for the client
to read, and keeps no reference to its tasks. It may go when Sanic does these (tests/unit/test_sanic_private.py).
"""

import asyncio
import codecs
from collections.abc import Coroutine, Sequence
from time import monotonic
from typing import Any

from sanic import Request
from sanic.exceptions import SanicException
from sanic.log import websockets_logger
from sanic.server.protocols import websocket_protocol as sanic_websockets
from sanic.server.protocols.websocket_protocol import WebSocketProtocol
from sanic.server.websockets.impl import WebsocketImplProtocol
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode

_Decoder = codecs.getincrementaldecoder("utf-8")
_MOST_FRAGMENTS = 4096  # Of one message: empty ones have no size that could be limited.
_MOST_WAITING = 16  # Pieces of input whose answers (pongs) the client does not read; then no more is read from it.
_MOST_PINGS, _PINGS_S = 20, 10.0  # So many within so long: who lives pings every some seconds.

NOT_UTF8, TOO_MANY, TOO_BIG = 1007, 1008, 1009


class Websocket(WebsocketImplProtocol):
    """A websocket of Sanic's that is closed at once for input that is not allowed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._decoder: codecs.IncrementalDecoder | None = None
        self._fragments = 0
        self._pings, self._pings_since = 0, 0.0
        self._waiting: set[asyncio.Task[None]] = set()

    def data_received(self, data: bytes) -> None:
        """Check and hand on what the client sent."""
        self.ws_proto.receive_data(data)
        events = self.ws_proto.events_received()
        for frame in events:
            if isinstance(frame, Frame) and (code := self._find_fault(frame)):
                self._fail(code)
                return
        to_send = self.ws_proto.data_to_send()
        if to_send or events:
            self._start(self.async_data_received(to_send, events))  # type: ignore[no-untyped-call]

    def _find_fault(self, frame: Frame) -> int:
        """The close code for a frame that is not allowed; 0 for a good one."""
        if frame.opcode is Opcode.PING:
            return self._count_ping()
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._decoder = _Decoder() if frame.opcode is Opcode.TEXT else None
            self._fragments = 0
        elif frame.opcode is not Opcode.CONT:
            return 0
        self._fragments += 1
        if self._fragments > _MOST_FRAGMENTS:
            return TOO_BIG
        if self._decoder is not None:
            try:
                self._decoder.decode(frame.data, frame.fin)
            except UnicodeDecodeError:
                return NOT_UTF8
        return 0

    def _count_ping(self) -> int:
        now = monotonic()
        if now - self._pings_since > _PINGS_S:
            self._pings_since, self._pings = now, 0
        self._pings += 1
        return TOO_MANY if self._pings > _MOST_PINGS else 0

    def _fail(self, code: int) -> None:
        self.fail_connection(code)
        if self.recv_cancel is not None:
            self.recv_cancel.cancel()

    def _start(self, handling: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(handling)
        self._waiting.add(task)
        task.add_done_callback(self._ended)
        if len(self._waiting) >= _MOST_WAITING and self.io_proto is not None and self.io_proto.transport is not None:
            self.io_proto.transport.pause_reading()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._waiting.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            websockets_logger.debug("The websocket's client has left: %r", error)
        transport: Any = self.io_proto.transport if self.io_proto is not None else None
        if transport is not None and self.pause_frame_fut is None and not transport.is_closing():
            transport.resume_reading()


async def open_websocket(
    connection: WebSocketProtocol, request: Request[Any, Any], subprotocols: Sequence[str] | None
) -> Websocket:
    """Shake hands. Raises SanicException (400 or 426) when the request is no good handshake."""
    stream: Any = request.stream
    deflate = ServerPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True)
    # By the name under which Sanic found it: it moved between the versions of `websockets`.
    ws_proto = sanic_websockets.ServerProtocol(  # type: ignore[attr-defined]
        max_size=connection.websocket_max_size,
        subprotocols=subprotocols and list(subprotocols),
        extensions=[deflate],
        state=sanic_websockets.OPEN,
        logger=websockets_logger,
    )
    try:
        response = ws_proto.accept(connection.sanic_request_to_ws_request(request))
    except UnicodeError:  # A key that is not ASCII.
        raise SanicException("This is not a handshake of a websocket", 400) from None
    if response.status_code != 101 or stream.request_bytes or stream.request_body == "chunked":
        status = response.status_code if 400 <= response.status_code < 500 else 400
        raise SanicException("This is not a handshake of a websocket", status)
    lines = [
        f"HTTP/1.1 101 {response.reason_phrase}",
        *(f"{name}: {value}" for name, value in response.headers.items()),
    ]
    await connection.send(("\r\n".join(lines) + "\r\n\r\n").encode())  # type: ignore[no-untyped-call]
    websocket = Websocket(
        ws_proto,
        ping_interval=connection.websocket_ping_interval,
        ping_timeout=connection.websocket_ping_timeout,
        close_timeout=connection.websocket_timeout,
    )
    connection.websocket = websocket
    await websocket.connection_made(connection, loop=connection.loop)
    early = bytes(connection.recv_buffer)  # Sent behind the handshake without waiting for its answer.
    connection.recv_buffer.clear()
    if early:
        websocket.data_received(early)
    return websocket
