"""HTTP/1.1 on one connection: requests one after the other, on Sanic's parser, with short cuts for what repeats.

Clients that poll send the same head over and over on one connection. A head that is byte for byte the one before
is not parsed again: a third of the framework's time. And a `Reply` whose headers nobody touched is written in one
piece. Everything else goes Sanic's own way, as does everything when a custom module listens to Sanic's signals.

What Sanic's parser lets through and HTTP does not is refused before it: heads by `head`, chunks by `chunks`.
`http1` and `read` stand in for Sanic 25.12's. `read` may go when Sanic checks the line ends between chunks; `http1`
when a client that leaves is no error to Sanic and unread bodies are none either (tests/unit/test_sanic_private.py).
"""

import asyncio
import logging
from asyncio import CancelledError
from time import perf_counter
from typing import Any, Protocol, cast

from msgspec import Struct
from sanic.compat import Header
from sanic.exceptions import BadRequest, BadURL, PayloadTooLarge, ServerError, ServiceUnavailable
from sanic.http import Http, Stage

from sanic_qserver.http.server.access import AccessLog
from sanic_qserver.http.server.chunks import take_chunk_line
from sanic_qserver.http.server.head import check_beginning, check_head
from sanic_qserver.http.server.request import OfHead
from sanic_qserver.http.server.response import Reply

log = logging.getLogger("sanic_qserver.http")

_LONGEST = 2048  # Bytes of a head that is kept: each idle connection holds one.
_LINGER_S = 1.0  # What still comes is read this long, or closing would reset the connection before the answer is read.
_MOST_CHUNKS, _LEAST_CHUNK = 4096, 16  # So many of any size, and more only when they hold so many bytes each.
_CHUNKS_AT_ONCE = 64
_SIGNALS = frozenset({"http.lifecycle.read_head", "http.lifecycle.request", "http.lifecycle.read_body",
                      "http.lifecycle.send"})  # fmt: skip


class _Head(Struct, frozen=True):
    """What was read from a head. `block`: its bytes with the empty line; `length`: of the body that follows, if any."""

    block: bytes
    head: bytes
    url: bytes
    method: str
    version: str
    headers: Header
    length: int | None
    of_head: OfHead


def _readable(headers: Header) -> Header:
    """The headers without lone surrogates, which stand for bytes that are not UTF-8 and cannot be encoded again."""
    return Header(
        (name, value.encode(errors="surrogateescape").decode(errors="replace")) for name, value in headers.items()
    )


class Connection(Protocol):
    """What is used of the connection that requests come over (`DeadlineProtocol`); Sanic's own parts untyped."""

    app: Any
    transport: Any
    state: Any
    websocket: Any
    request_class: Any
    is_unwatched: bool

    request_timeout: Any

    @property
    def is_draining(self) -> bool:
        """Whether the server is stopping."""
        ...

    @property
    def is_gone(self) -> bool:
        """Whether the client has left, or was cut off."""
        ...

    def begin_request(self) -> None:
        """The first byte of a request is here."""
        ...

    def end_request(self) -> None:
        """The request was answered."""
        ...

    async def receive_more(self) -> None:
        """Wait for more of what the client sends."""
        ...

    def send_now(self, head: bytes, body: bytes) -> bool:
        """Write without waiting. False when the client is slow or gone."""
        ...

    def drop(self, size: int) -> float | None:
        """So many bytes are dropped: how long to wait before more is read, in seconds. None: no more is read."""
        ...

    async def until_writable(self) -> None:
        """Wait until the client has read enough. Raises RequestCancelled when it has left."""
        ...


class CachedHeadHttp(Http):
    """One connection's requests and responses."""

    __slots__ = ("_access", "_chunks", "_head", "_is_unwatched")

    # Sanic declares these too narrowly. A body is None, True or "chunked".
    protocol: Any
    request: Any
    request_body: Any
    request_bytes: Any
    request_bytes_left: Any
    response_func: Any
    perft0: Any
    url: Any

    def __init__(self, protocol: "Connection") -> None:
        super().__init__(protocol)  # type: ignore[no-untyped-call]
        self._access: AccessLog | None = getattr(protocol.app.ctx, "access_log", None)
        self._head: _Head | None = None
        self._chunks = 0
        self._is_unwatched = protocol.is_unwatched = _SIGNALS.isdisjoint(
            signal.name for signal in protocol.app.signal_router.routes
        )

    async def http1(self) -> None:
        """Answer requests until the connection ends."""
        protocol = cast("Connection", self.protocol)
        while self.keep_alive and self.stage is Stage.IDLE:
            self.init_for_request()  # type: ignore[no-untyped-call]
            self._chunks = 0
            if not self.recv_buffer:
                await protocol.receive_more()
            self.stage = Stage.REQUEST
            protocol.begin_request()
            try:
                await self._serve()
            except CancelledError:
                await self._answer_cancelled()
            except Exception as error:  # the edge: each error becomes an answer
                await self.error_response(error)
            if self._access is not None and self.request is not None:
                self._access.note(self.request, self.response, self.perft0, protocol.websocket is not None)
            if protocol.websocket is not None:
                return
            protocol.end_request()
            if self.request_body or not self.keep_alive:
                await self._discard_body()
            if self.request is not None:
                self.request.stream = None
                if self.response is not None:
                    self.response.stream = None

    async def _serve(self) -> None:
        self.response_func = self.http1_response_header  # as Sanic does
        await self.http1_request_header()
        self.stage = Stage.HANDLER
        self.perft0 = perf_counter()
        self.request.conn_info = self.protocol.conn_info
        await self.protocol.request_handler(self.request)
        if self.protocol.websocket is not None:
            return
        if self.stage is Stage.HANDLER:
            raise ServerError("Handler produced no response")
        if self.stage is Stage.RESPONSE:
            await self.response.send(end_stream=True)

    async def _answer_cancelled(self) -> None:
        """The client left, something took too long, or the server stops."""
        protocol = cast("Connection", self.protocol)
        self.keep_alive = False
        why, self.exception = self.exception, None
        if protocol.is_gone:
            log.debug("The client left before it was answered")
        elif protocol.websocket is None:
            await self.error_response(why or ServiceUnavailable("The server is stopping"))
        self.request_body = None  # Nobody waits for the rest.

    async def _discard_body(self) -> None:
        """Read what is left of a body that nobody read, within the request's deadline.

        Not chunk for chunk after a refusal: that is work that a stranger could order.
        """
        if self.request_body == "chunked" and self.response is not None and self.response.status >= 400:
            self.keep_alive, self.request_body = False, None
        self.request_max_size = min(self.request_max_size, self.protocol.request_max_size)
        try:
            while self.request_body and await self._drop(len(await self.read() or b"")):
                pass
        except (BadRequest, PayloadTooLarge):
            self.keep_alive = False
        if self.request_body:
            self.keep_alive = False
        if not self.keep_alive and self.response is not None and self.response.status >= 400:
            await self._linger()

    async def _drop(self, size: int) -> bool:
        """Drop what was read, and wait for the turn to read more. False: all together have dropped too much."""
        wait_s = cast("Connection", self.protocol).drop(size)
        if wait_s:
            await asyncio.sleep(wait_s)
        return wait_s is not None

    async def _linger(self) -> None:
        """Drop what still comes: a client that sends all before it reads would lose the answer with the connection."""
        protocol = cast("Connection", self.protocol)
        transport = protocol.transport
        if protocol.is_gone or transport is None:
            return
        left = self.request_bytes_left if self.request_body else 0
        try:
            async with asyncio.timeout(protocol.request_timeout if left else _LINGER_S):
                if transport.can_write_eof():  # Not over TLS.
                    transport.write_eof()
                while not protocol.is_gone and await self._drop(len(self.recv_buffer)):
                    if left and (left := left - len(self.recv_buffer)) <= 0:
                        return
                    self.recv_buffer.clear()
                    await protocol.receive_more()
        except (TimeoutError, OSError):
            return

    async def http1_request_header(self) -> None:
        """Read the head of a request into `self.request`."""
        known = self._head
        if known is None or not self.recv_buffer.startswith(known.block):
            await self._receive_head()
            try:
                await super().http1_request_header()  # type: ignore[no-untyped-call]
            except BadURL:
                self.url = None  # Sanic would parse it again for its error page.
                raise
            if not self.request.head.isascii():
                self.request.headers = _readable(self.request.headers)
            self._remember()
            return
        protocol: Any = self.protocol
        self.url = known.url.decode("ascii")
        self.keep_alive = True
        self.head_only = False
        # The request copies the headers: what a handler does to them does not come back with the next one.
        request = protocol.request_class(known.url, known.headers, known.version, known.method, protocol.transport,
                                         protocol.app, known.head)  # fmt: skip
        protocol.request_class._current.set(request)  # noqa: SLF001  # as Sanic does
        self.request_bytes_left = self.request_bytes = known.length or 0
        if known.length is not None:
            self.request_body = True
        del self.recv_buffer[: len(known.block)]
        request.known_of_head = known.of_head
        self.request, request.stream = request, self
        protocol.state["requests_count"] += 1

    async def _receive_head(self) -> None:
        """Wait until the buffer begins with a whole head that may be read."""
        buffer, checked = self.recv_buffer, 0
        while (end := buffer.find(b"\r\n\r\n", max(0, checked - 3))) < 0:
            check_beginning(buffer, max(0, checked - 1))
            checked = len(buffer)
            if checked > self.HEADER_MAX_SIZE:
                raise PayloadTooLarge("Request header exceeds the size limit")
            await self._receive_more()
        if end <= self.HEADER_MAX_SIZE:  # Else Sanic says so.
            check_head(bytes(buffer[:end]))

    def _remember(self) -> None:
        request = self.request
        self._head = None
        if (
            self._is_unwatched
            and self.keep_alive
            and not (self.upgrade_websocket or self.head_only or self.expecting_continue)
            and self.request_body != "chunked"
            and len(request.head) <= _LONGEST
        ):
            length = self.request_bytes if self.request_body else None
            self._head = _Head(request.head + b"\r\n\r\n", request.head, self.url.encode("ascii"), request.method,
                               request.version, Header(request.headers), length, request.of_head)  # fmt: skip

    async def read(self) -> bytes | None:
        """The next piece of the request's body; None at its end."""
        if self.expecting_continue:
            self.expecting_continue = False
            await self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self.request_body == "chunked" and not self.request_bytes_left:
            await self._begin_chunk()
        if self.request_bytes > self.request_max_size:
            self.keep_alive = False
            raise PayloadTooLarge("Request body exceeds the size limit")
        if not self.request_bytes_left:
            self.request_body = None
            return None
        buffer = self.recv_buffer
        if not buffer:
            await self._receive_more()
        piece = bytes(buffer[: self.request_bytes_left])
        del buffer[: len(piece)]
        self.request_bytes_left -= len(piece)
        if not self._is_unwatched:
            await self.dispatch("http.lifecycle.read_body", inline=True, context={"body": piece})
        return piece

    async def _begin_chunk(self) -> None:
        try:
            while (size := take_chunk_line(self.recv_buffer)) is None:
                await self._receive_more()
            self._chunks += 1
            if self._chunks > _MOST_CHUNKS + self.request_bytes // _LEAST_CHUNK:
                raise BadRequest("Too many small chunks")
        except BadRequest:
            self.keep_alive = False
            raise
        if not self._chunks % _CHUNKS_AT_ONCE:
            await asyncio.sleep(0)  # A full buffer of them takes long; others wait no longer than for a few.
        self.request_bytes_left = size
        self.request_bytes += size

    async def http1_response_header(self, data: bytes, end_stream: bool) -> None:
        """Send the head of a response, and a body that is there already."""
        reply, protocol = self.response, cast("Connection", self.protocol)
        if protocol.is_draining and not self.recv_buffer:  # Else more requests are here, which have been accepted.
            self.keep_alive = False
        if (
            type(reply) is Reply
            and end_stream
            and not data
            and self._is_unwatched
            and not (self.head_only or self.expecting_continue)
            and (head := reply.head(self.keep_alive)) is not None
        ):
            self.response_func = None  # as Sanic does
            self.response_size = len(reply.body)
            while not protocol.send_now(head, reply.body):  # Not joined: each who does not read would hold a copy.
                await protocol.until_writable()
            self.stage = Stage.IDLE
        else:
            await super().http1_response_header(data, end_stream)
