"""HTTP/1.1 with an absolute deadline for the arrival of a request.

Sanic's own request time-out starts anew with every byte, and does not cover bodies: a client that drips would hold
its connection for ever (measured: 26 s for headers under a time-out of 3 s). Routes that read their body as a
stream are left alone: theirs may legitimately take hours, and they have deadlines of their own.
"""

from time import monotonic
from typing import Any

from sanic.exceptions import RequestTimeout
from sanic.http import Stage
from sanic.server.protocols.websocket_protocol import WebSocketProtocol


class DeadlineProtocol(WebSocketProtocol):
    """Cuts off a request that has not arrived whole after `REQUEST_TIMEOUT` seconds."""

    __slots__ = ("_arriving", "_arriving_since")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._arriving: object = None
        self._arriving_since = 0.0

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
