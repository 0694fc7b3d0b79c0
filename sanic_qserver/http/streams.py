"""Streams over HTTP: the same messages as chunks, server-sent events or lines, as the client accepts."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable

from sanic import HTTPResponse, Request

from sanic_qserver.endpoints.endpoint import Stream
from sanic_qserver.endpoints.services import Services
from sanic_qserver.errors import GatewayError
from sanic_qserver.http.application import App, Handler
from sanic_qserver.http.decode import Decoder
from sanic_qserver.http.errors import respond
from sanic_qserver.http.gate import Gate
from sanic_qserver.http.request_id import REQUEST_ID
from sanic_qserver.http.routing import PREFIXES
from sanic_qserver.http.watchers import Watchers
from sanic_qserver.http.websockets import call_of, websocket_handler

# How a message is framed, and what is sent when nothing happened for a while, by content type.
# The default has no separators: clients split where `}` meets `{`. Its heart beats with white space, which JSON allows.
Framing = tuple[Callable[[bytes], bytes], bytes]
FRAMINGS: dict[str, Framing] = {
    "text/event-stream": (lambda message: b"data: " + message + b"\n\n", b": still here\n\n"),
    "application/x-ndjson": (lambda message: message + b"\n", b"\n"),
    "text/plain": (lambda message: message, b""),
}


def mount_streams(app: App, rows: Iterable[Stream], gate: Gate, services: Services) -> None:
    """Give every stream its routes."""
    app.enable_websocket()
    watchers = Watchers()
    app.before_server_stop(lambda _: watchers.stop())
    app.config.WEBSOCKET_MAX_SIZE = 65_536  # What watchers send is ignored, but for a credential.
    for row in rows:
        if row.is_websocket:
            handler = websocket_handler(row, gate, services, watchers)
        else:
            handler = stream_handler(row, gate, services)
        for prefix in PREFIXES if row.at_root else PREFIXES[:1]:
            app.add_route(
                handler,
                prefix + row.path,
                methods=["GET"],
                name=f"{row.name}{'_api' if prefix else ''}",
                ctx_row=row,
            )


def stream_handler(row: Stream, gate: Gate, services: Services) -> Handler:
    """The way of one watcher: gate, then messages until it leaves or the server stops."""
    decoder = Decoder(row.params, max_nesting=services.config.server.max_nesting, forward_unknown=False)
    heartbeat_s = services.config.console.heartbeat_s

    async def handle(request: Request) -> HTTPResponse | None:
        try:
            access, verdict = await gate.admit(request, row)
            params, _ = decoder.decode(b"", request.query_string, "")
        except GatewayError as error:
            return respond(error, request)
        content_type = accepted(request.headers.get("accept", ""))
        frame, heartbeat = FRAMINGS[content_type]
        call = call_of(request, row, params, access, services)
        headers = {REQUEST_ID: call.request_id, "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        response = await request.respond(headers={**headers, **verdict.headers}, content_type=content_type)
        # The headers go out with the first chunk: an empty one tells the watcher that it is connected.
        await response.send(heartbeat)
        async for message in with_heartbeat(row.source(call), heartbeat_s):
            await response.send(heartbeat if message is None else frame(message))
        await response.eof()
        return None

    handle.__name__ = row.name
    return handle


def accepted(accept: str) -> str:
    """The content type of a stream for this `Accept` header; by default the reference server's."""
    for content_type in FRAMINGS:
        if content_type in accept:
            return content_type
    return "text/plain"


async def with_heartbeat(source: AsyncIterator[bytes], period_s: float) -> AsyncIterator[bytes | None]:
    """The messages of `source`, and None whenever there was none for `period_s` seconds."""
    following: asyncio.Task[bytes] | None = None
    try:
        while True:
            following = following or asyncio.ensure_future(anext(source))
            done, _ = await asyncio.wait((following,), timeout=period_s)
            if not done:
                yield None
                continue
            try:
                message = following.result()
            except StopAsyncIteration:
                return
            following = None
            yield message
    finally:
        if following is not None:
            following.cancel()
        aclose = getattr(source, "aclose", None)
        if aclose is not None and (following is None or following.done()):
            await aclose()
