"""One connection: its deadlines, what it may send without being answered, and what is written to it.

Sanic's own time-outs start anew with every byte, do not cover bodies, and end for good with the header
`Upgrade: websocket` on any path. So they are off, and these hold instead, looked at each second by `connections`:

- a request has arrived whole `body_timeout_s` after its first byte, whatever it asks for;
- an answer of which the client reads next to nothing for `write_stall_s` is cut off;
- further requests are taken in while one is answered, up to `MAX_PIPELINED` bytes; whoever sends more is cut off;
- a handler answers within `RESPONSE_TIMEOUT`, and a connection that waits for a request ends after some time.

Exempt are websockets after their handshake and streams that the gate admitted: these have deadlines of their own.

`check_timeouts`, `data_received`, `receive_more` and `send` stand in for Sanic 25.12's. They may go when Sanic has
absolute deadlines for a request and a write (tests/unit/test_sanic_private.py fails when what they use has changed).
"""

import asyncio
import contextlib
import logging
import select
import socket
from time import monotonic
from typing import Any

from sanic import Request
from sanic.exceptions import RequestCancelled, RequestTimeout, SanicException, ServiceUnavailable
from sanic.http import Stage
from sanic.server.protocols.websocket_protocol import WebSocketProtocol

from sanic_qserver.http.server.connections import Connections, read_peer
from sanic_qserver.http.server.http1 import CachedHeadHttp
from sanic_qserver.http.server.websocket import open_websocket

log = logging.getLogger("sanic_qserver.http")

MAX_PIPELINED = 65_536  # Bytes of further requests that may come while one is answered.
_JOINED_BYTES = 16_384  # A cached reply of megabytes is sent from the cache itself; small ones are cheaper joined.
_PROGRESS = 16_384  # Bytes that a client must read within the stall limit.
_QUIET_S = 1.0  # Who had an answer, or connected, this short ago may have sent a request that is not here yet.
_KERNEL_BUFFER = 131_072  # Bytes, which Linux doubles for its own use.
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\n"
    b"Content-Type: application/problem+json\r\nContent-Length: 92\r\n\r\n"
    b'{"title":"Overloaded","status":503,"code":"overloaded","detail":"Too many connections here"}'
)


def _bound_kernel_buffer(transport: asyncio.Transport) -> None:
    """Keep the kernel from taking megabytes for each client that does not read: copying them holds up all others."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):  # It may be gone already.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BUFFER)


def _has_input(transport: asyncio.Transport) -> bool:
    """Whether the kernel holds bytes that the loop has not read yet."""
    connection = transport.get_extra_info("socket")
    if connection is None or connection.fileno() < 0:
        return False
    readable = select.poll()
    readable.register(connection.fileno(), select.POLLIN)
    return bool(readable.poll(0))


def find_connection(request: Request[Any, Any]) -> "DeadlineProtocol":
    """The connection that a request came over."""
    connection = request.transport.get_protocol()
    assert isinstance(connection, DeadlineProtocol)  # noqa: S101  # `serve` asks for it
    return connection


class DeadlineProtocol(WebSocketProtocol):
    """A connection of Sanic's, with deadlines that hold."""

    HTTP_CLASS = CachedHeadHttp

    __slots__ = (
        "_arriving_since",
        "_is_exempt",
        "_is_refused",
        "_is_used",
        "_least_unsent",
        "_more",
        "_registry",
        "_stalled_since",
        "is_unwatched",
    )

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._registry: Connections = self.app.ctx.connections
        self._arriving_since = 0.0
        self._is_exempt = self._is_refused = self._is_used = False
        self._least_unsent, self._stalled_since = 0, 0.0
        self._more: asyncio.Future[None] | None = None
        self._http = None
        self.is_unwatched = True

    @property
    def is_gone(self) -> bool:
        """Whether the client has left, or was cut off."""
        transport = self.transport
        return transport is None or transport.is_closing() or (self.conn_info is not None and self.conn_info.lost)

    @property
    def is_draining(self) -> bool:
        """Whether the server is stopping: then the next answer is the last one."""
        return self._registry.is_draining

    def connection_made(self, transport: Any) -> None:
        """A client connects."""
        if not self._registry.enter(self, read_peer(transport)):
            self._is_refused = True
            transport.write(_FULL)
            transport.close()
            return
        super().connection_made(transport)  # type: ignore[no-untyped-call]
        _bound_kernel_buffer(transport)
        self._time = monotonic()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended, by whoever."""
        if self._is_refused:
            return
        self._registry.leave(self, self._task)
        super().connection_lost(exc)  # type: ignore[no-untyped-call]

    def begin_request(self) -> None:
        """The first byte of a request is here."""
        self._arriving_since = monotonic()
        self._is_exempt, self._is_used = False, True

    def end_request(self) -> None:
        """The request was answered. What is left of its body has its deadline again."""
        if self._is_exempt:
            self.begin_request()

    def exempt(self) -> None:
        """The request was admitted to a stream that has deadlines of its own."""
        self._is_exempt = True

    def drop(self, size: int) -> float | None:
        """So many bytes are dropped: how long to wait before more is read, in seconds. None: no more is read."""
        return self._registry.drop(size)

    async def receive_more(self) -> None:
        """Wait for more of what the client sends. A future: Sanic's event costs a request 3 % of its time."""
        transport: Any = self.transport
        transport.resume_reading()
        more = self._more = self.loop.create_future()
        await more

    def data_received(self, data: bytes) -> None:
        """Take what the client sent, and wake who waits for it."""
        if self._is_refused:
            return
        if self.websocket is not None or not data:
            super().data_received(data)  # type: ignore[no-untyped-call]
            return
        self.recv_buffer += data
        if (more := self._more) is not None:
            self._more = None
            self._time = monotonic()
            if not more.done():
                more.set_result(None)
        if len(self.recv_buffer) >= MAX_PIPELINED and self.transport is not None:
            if self._is_answering():
                log.debug("Cut off: more requests than may wait for an answer")
                self.transport.abort()
            else:
                self.transport.pause_reading()

    def _is_answering(self) -> bool:
        """Whether what comes now is not part of the request that is served."""
        http = self._http
        return http is not None and http.stage in (Stage.HANDLER, Stage.RESPONSE) and not http.request_body

    def send_now(self, head: bytes, body: bytes) -> bool:
        """Write without waiting. False when the client is slow or gone: then `send` waits or says so."""
        transport = self.transport
        if transport is None or transport.is_closing() or not self._can_write.is_set():
            return False
        self._stalled_since = 0.0  # The client has read: else it could not be written to.
        if len(body) < _JOINED_BYTES:
            transport.write(head + body)
        else:
            transport.writelines((head, body))
        self._time = monotonic()
        return True

    async def until_writable(self) -> None:
        """Wait until the client has read enough. Raises RequestCancelled when it has left."""
        await self._can_write.wait()
        if self.is_gone:
            raise RequestCancelled

    async def send(self, data: bytes) -> None:
        """Write when the client has read enough. Raises RequestCancelled when it has left."""
        await self.until_writable()
        if not self.is_unwatched:
            await self.app.dispatch("http.lifecycle.send", inline=True, context={"data": data})
        assert self.transport is not None  # noqa: S101  # it is not gone
        self._stalled_since = 0.0
        self.transport.write(data)
        self._time = monotonic()

    def check_timeouts(self) -> None:
        """Sanic's own timer. `look` does this."""

    def look(self, now: float) -> None:
        """End the connection when something takes too long."""
        if self._is_stalled(now):
            log.debug("Cut off: the answer is not read")
            assert self.transport is not None  # noqa: S101  # it has something unsent
            self.transport.abort()
        elif self._task is not None and (http := self._http) is not None and self.websocket is None:
            self._check_deadlines(http, now)

    def _check_deadlines(self, http: CachedHeadHttp, now: float) -> None:
        config = self.app.config
        if self._is_exempt:
            return
        if http.stage is Stage.REQUEST or getattr(http, "request_body", None):
            if now - self._arriving_since > self.request_timeout:
                self._give_up(http, RequestTimeout("The request did not arrive in time"))
        elif http.stage is Stage.IDLE:
            if now - self._time > (self.keep_alive_timeout if self._is_used else self.request_timeout):
                self.close()
        elif now - max(self._time, self._arriving_since) > config.RESPONSE_TIMEOUT:
            self._give_up(http, ServiceUnavailable("Response Timeout"))

    def close_if_quiet(self, now: float) -> None:
        """Close when no request is here or may be on its way."""
        http, transport = self._http, self.transport
        if http is None or transport is None or http.stage is not Stage.IDLE or self.recv_buffer:
            return
        if self.websocket is None and now - self._time > _QUIET_S and not _has_input(transport):
            self.close()

    def give_up(self) -> None:
        """End what is served: a websocket with 1001, a request with 503."""
        if self.websocket is not None:
            self.websocket.fail_connection(1001)
        elif self._task is not None and (http := self._http) is not None:
            self._give_up(http, ServiceUnavailable("The server is stopping"))

    def _give_up(self, http: CachedHeadHttp, why: SanicException) -> None:
        assert self._task is not None  # noqa: S101  # there is a request
        self._arriving_since = now = monotonic()  # The answer to this has the same time again, and no more.
        self._time = now
        http.exception = why
        self._task.cancel(str(why))

    def _is_stalled(self, now: float) -> bool:
        """Whether the client has read next to nothing of what is written for too long."""
        transport = self.transport
        unsent = transport.get_write_buffer_size() if transport is not None else 0
        if not unsent or self._is_exempt:
            self._stalled_since = 0.0
            return False
        if not self._stalled_since or unsent <= self._least_unsent - _PROGRESS:
            self._least_unsent, self._stalled_since = unsent, now
        limit_s = self._registry.write_stall_s if self.websocket is None else self._registry.subscriber_stall_s
        return now - self._stalled_since > limit_s

    async def websocket_handshake(self, request: Request[Any, Any], subprotocols: Any = None) -> Any:
        """The handshake of all websockets, also of plain blueprints. Raises SanicException when it is none."""
        return await open_websocket(self, request, subprotocols)
