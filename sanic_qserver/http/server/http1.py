"""HTTP/1.1 as Sanic speaks it, with short cuts for what repeats.

Clients that poll send the same head over and over on one connection. A head that is byte for byte the one before
is not parsed again: a third of the framework's time. And a `Reply` whose headers nobody touched is written in one
piece. Everything else goes Sanic's own way, as does everything when a custom module listens to Sanic's signals.
"""

from typing import TYPE_CHECKING, Any, cast

from msgspec import Struct
from sanic.compat import Header
from sanic.http import Http, Stage

from sanic_qserver.http.server.response import Reply

if TYPE_CHECKING:
    from sanic_qserver.http.server.connection import DeadlineProtocol

_LONGEST = 2048  # Bytes of a head that is kept: each idle connection holds one.
_SIGNALS = frozenset({"http.lifecycle.read_head", "http.lifecycle.request", "http.lifecycle.send"})


class _Head(Struct, frozen=True):
    """What was read from a head. `block`: its bytes with the empty line; `length`: of the body that follows, if any."""

    block: bytes
    head: bytes
    url: bytes
    method: str
    version: str
    headers: Header
    length: int | None


class Wire(Http):
    """One connection's requests and responses."""

    __slots__ = ("_head", "_is_unwatched")

    def __init__(self, protocol: "DeadlineProtocol") -> None:
        super().__init__(protocol)  # type: ignore[no-untyped-call]
        self._head: _Head | None = None
        self._is_unwatched = _SIGNALS.isdisjoint(signal.name for signal in protocol.app.signal_router.routes)

    async def http1_request_header(self) -> None:
        """Read the head of a request into `self.request`."""
        known = self._head
        if known is None or not self.recv_buffer.startswith(known.block):
            await super().http1_request_header()  # type: ignore[no-untyped-call]
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
            self.request_body = True  # type: ignore[assignment]  # Sanic's own values: None, True, "chunked"
        del self.recv_buffer[: len(known.block)]
        self.request, request.stream = request, self
        protocol.state["requests_count"] += 1

    def _remember(self) -> None:
        request = self.request
        self._head = None
        if (
            self._is_unwatched
            and self.keep_alive
            and not (self.upgrade_websocket or self.head_only or self.expecting_continue)
            and self.request_body != "chunked"  # type: ignore[comparison-overlap]
            and len(request.head) <= _LONGEST
        ):
            length = self.request_bytes if self.request_body else None
            self._head = _Head(request.head + b"\r\n\r\n", request.head, request.raw_url, request.method,
                               request.version, Header(request.headers), length)  # fmt: skip

    async def http1_response_header(self, data: bytes, end_stream: bool) -> None:
        """Send the head of a response, and a body that is there already."""
        reply, protocol = self.response, cast("DeadlineProtocol", self.protocol)
        if (
            type(reply) is Reply
            and end_stream
            and not data
            and self._is_unwatched
            and not (self.head_only or self.expecting_continue or protocol.access_log)
            and (head := reply.head(self.keep_alive)) is not None
        ):
            self.response_func = None  # type: ignore[assignment]  # as Sanic does
            self.response_size = len(reply.body)
            if not protocol.send_now(head, reply.body):
                await self._send(head + reply.body)
            self.stage = Stage.IDLE
        else:
            await super().http1_response_header(data, end_stream)
