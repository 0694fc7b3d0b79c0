"""HTTP/1.1 with an absolute deadline for the arrival of a request.

Sanic's own request time-out starts anew with every byte, and does not cover bodies: a client that drips would hold
its connection for ever (measured: 26 s for headers under a time-out of 3 s). Routes that read their body as a
stream are left alone: theirs may legitimately take hours, and they have deadlines of their own.
What is read and written is the business of `wire`.
"""

import asyncio
from time import monotonic
from typing import Any

from sanic.exceptions import RequestTimeout
from sanic.http import Stage
from sanic.server.protocols.websocket_protocol import WebSocketProtocol

from sanic_qserver.http.server.http1 import Wire

_JOINED_BYTES = 16_384  # A kept reply of megabytes is sent from where it is kept; small ones are cheaper joined.


class DeadlineProtocol(WebSocketProtocol):
    """Cuts off a request that has not arrived whole after `REQUEST_TIMEOUT` seconds."""

    HTTP_CLASS = Wire

    __slots__ = ("_arriving", "_arriving_since", "_more")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._arriving: object = None
        self._arriving_since = 0.0
        self._more: asyncio.Future[None] | None = None

    async def receive_more(self) -> None:
        """Wait for more of what the client sends. A future: Sanic's event costs a request 3 % of its time."""
        transport: Any = self.transport
        transport.resume_reading()
        more = self._more = self.loop.create_future()
        await more

    def data_received(self, data: bytes) -> None:
        """Keep what the client sent, and wake who waits for it."""
        if self.websocket is not None or not data:
            super().data_received(data)  # type: ignore[no-untyped-call]
            return
        self._time = monotonic()
        self.recv_buffer += data
        if len(self.recv_buffer) >= self.app.config.REQUEST_BUFFER_SIZE and self.transport:
            self.transport.pause_reading()
        if (more := self._more) is not None:
            self._more = None
            if not more.done():
                more.set_result(None)

    def send_now(self, head: bytes, body: bytes) -> bool:
        """Write without waiting. False when the client is slow or gone: then `send` waits or says so."""
        transport = self.transport
        if transport is None or transport.is_closing() or not self._can_write.is_set():
            return False
        if len(body) < _JOINED_BYTES:
            transport.write(head + body)
        else:
            transport.writelines((head, body))
        self._time = monotonic()
        return True

    def check_timeouts(self) -> None:
        """Look, as Sanic does now and then, whether something takes too long."""
        arriving = self._what_is_arriving()
        if arriving is None or arriving is not self._arriving:
            self._arriving, self._arriving_since = arriving, monotonic()
        elif monotonic() - self._arriving_since > self.request_timeout and self._task:
            self._http.exception = RequestTimeout("The request did not arrive in time")
            # The first time this answers 408; after that Sanic waits for the rest of the body, and is ended as well.
            self._task.cancel()
        super().check_timeouts()  # type: ignore[no-untyped-call]

    def _what_is_arriving(self) -> object:
        """The request that is incomplete, or what stands for it before its header is; None when there is none."""
        http = self._http
        if http is None:
            return None
        if http.stage is Stage.REQUEST:
            # The object that was `request` before this one: another for each request of a connection.
            return http.request or self
        # Before the first request of a connection Sanic has not set these attributes yet.
        request = getattr(http, "request", None)
        if request is not None and getattr(http, "request_body", None):
            is_streamed = request.route is not None and getattr(request.route.handler, "is_stream", False)
            return None if is_streamed else request
        return None
