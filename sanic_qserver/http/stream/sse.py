"""Streams over HTTP: the same messages as chunks, server-sent events or lines, as the client accepts."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field

from sanic import HTTPResponse, Request
from sanic.response import BaseHTTPResponse

from sanic_qserver.api.endpoint import Stream
from sanic_qserver.api.services import Services
from sanic_qserver.errors import GatewayError, ShuttingDown
from sanic_qserver.http.application import PREFIXES, App, Handler
from sanic_qserver.http.decode import Decoder
from sanic_qserver.http.errors import respond
from sanic_qserver.http.gate import Gate
from sanic_qserver.http.request_id import REQUEST_ID, read_request_id
from sanic_qserver.http.server.connection import find_connection
from sanic_qserver.http.stream.compression import HEADER as GZIP_HEADER, accepts_gzip, block
from sanic_qserver.http.stream.subscribers import Subscription, Subscriptions
from sanic_qserver.http.stream.websocket import wants_websocket, websocket_handler
from sanic_qserver.manager.live.subscriber import Framing, Message, Subscriber
from sanic_qserver.structs.identity import Access


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(message: Message) -> bytes:
    """The message as a server-sent event: unnamed, so that `onmessage` gets them all."""
    if message.id:
        return b"id: %b\ndata: %b\n\n" % (message.id.encode(), message.body)
    return b"data: " + message.body + b"\n\n"


@dataclass(frozen=True)
class StreamFormat:
    """How a stream is encoded over HTTP: its opening, framing and heartbeat."""

    framing: Framing
    heartbeat: bytes = b""
    opening: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def compress_format(form: StreamFormat) -> StreamFormat:
    """The same, compressed with gzip."""
    frame = form.framing.frame
    return StreamFormat(
        Framing(frame, lambda joined: chunk(block(joined))),
        block(form.heartbeat),
        GZIP_HEADER + block(form.opening),
        {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"},
    )


RETRY_MS = (500, 3000)
# The default has no separators and no heartbeat: clients split where `}` meets `{`, and not all bear white space.
FORMATS: dict[str, StreamFormat] = {
    "text/event-stream": StreamFormat(Framing(event, chunk), b": still here\n\n", b"retry: 2000\n\n"),
    "application/x-ndjson": StreamFormat(Framing(lambda message: message.body + b"\n", chunk), b"\n", b"\n"),
    "text/plain": StreamFormat(Framing(lambda message: message.body, chunk)),
}
# Not the plain form: its clients want whole objects in each chunk, and a decompressor gives pieces as it likes.
COMPRESSED_FORMATS = {
    content_type: compress_format(form) for content_type, form in FORMATS.items() if content_type != "text/plain"
}


def mount_streams(app: App, rows: Iterable[Stream], gate: Gate, services: Services) -> None:
    """Give every stream its routes."""
    app.enable_websocket()
    app.config.WEBSOCKET_MAX_SIZE = 65_536  # What clients send is ignored, except a credential.
    subscriptions = Subscriptions(gate)
    app.ctx.subscriptions = subscriptions
    app.after_server_start(lambda _: subscriptions.start())
    app.before_server_stop(lambda _: subscriptions.stop())
    for row in rows:
        handler = _build_handler(row, gate, services, subscriptions)
        for prefix in PREFIXES if row.at_root else PREFIXES[:1]:
            app.add_route(
                handler,
                prefix + row.path,
                methods=["GET"],
                ignore_body=True,
                name=f"{row.name}{'_api' if prefix else ''}",
                ctx_row=row,
                error_format="json",
            )


class _Stopped(asyncio.Event):
    """Set when a stream is ended from here, and why."""

    why: GatewayError | None = None

    async def stop(self, why: GatewayError) -> None:
        """End it."""
        self.why = why
        self.set()


def _build_handler(row: Stream, gate: Gate, services: Services, subscriptions: Subscriptions) -> Handler:
    over_http = stream_handler(row, gate, services, subscriptions)
    if not row.is_websocket:
        return over_http
    over_websocket = websocket_handler(row, gate, services, subscriptions)

    async def either(request: Request) -> HTTPResponse | None:
        return await (over_websocket if wants_websocket(request) else over_http)(request)

    chosen: Handler = either if row.also_serves_http else over_websocket
    chosen.__name__ = row.name
    chosen.is_websocket = True  # type: ignore[attr-defined]  # Sanic: None is a good answer
    return chosen


def stream_handler(row: Stream, gate: Gate, services: Services, subscriptions: Subscriptions) -> Handler:
    """The way of one watcher: gate, then messages until it leaves or the server stops."""
    decoder = Decoder(row.params, max_nesting=services.config.server.max_nesting, forward_unknown=False)
    heartbeat_s = services.config.console.heartbeat_s

    async def handle(request: Request) -> HTTPResponse | None:
        try:
            params, _ = decoder.decode(b"", request.query_string, "")
            seen = row.for_params(params)
            call, verdict = await gate.admit(request, seen)
            call.params = params
            async with gate.hold_slot(call):
                source = row.source(call)
                messages = source if isinstance(source, AsyncIterator) else await source
                try:
                    await answer(request, seen, call.access, messages, verdict.headers)
                finally:
                    if isinstance(messages, Subscriber):
                        messages.close()
        except GatewayError as error:
            if request.responded:
                raise
            return respond(error, request)
        return None

    async def answer(
        request: Request,
        row: Stream,
        access: Access,
        source: AsyncIterator[bytes] | Subscriber,
        more: Mapping[str, str],
    ) -> None:
        form, content_type = choose_format(request.headers, row)
        headers = {REQUEST_ID: read_request_id(request), "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        headers.update({**form.headers, **more})
        connection = find_connection(request)
        connection.exempt()  # A stream may be silent for long.
        transport = connection.transport
        if transport is None:
            return  # The client has left.
        response = await request.respond(headers=headers, content_type=content_type)
        assert response is not None  # noqa: S101  # nothing answered before
        await response.send(form.opening)  # The headers go out with it.
        stopped = _Stopped()
        subscription = Subscription(access, row, stopped.stop)
        subscriptions.add(subscription)
        try:
            if isinstance(source, Subscriber):
                subscription.scopes = source.scopes
                source.attach(transport, form.framing)
                await _beat(response, form.heartbeat, heartbeat_s, stopped)
            else:
                await _pump(source, response, form, heartbeat_s, stopped)
            if isinstance(stopped.why, ShuttingDown):
                await response.send(closing_hint(form, content_type))
            await response.eof()
        finally:
            subscriptions.remove(subscription)

    handle.__name__ = row.name
    return handle


def closing_hint(form: StreamFormat, content_type: str) -> bytes:
    """What a stream ends with when the server stops: when to come back, not the same for all."""
    if content_type != "text/event-stream":
        return b""
    hint = b"retry: %d\n\n" % random.randint(*RETRY_MS)  # noqa: S311  # no secret
    return block(hint) if form.headers else hint


def choose_format(headers: Mapping[str, str], row: Stream) -> tuple[StreamFormat, str]:
    """The form of a stream for these request headers, and its content type; by default the reference server's."""
    accept = headers.get("accept", "")
    default = "text/event-stream" if row.is_websocket else "text/plain"
    content_type = next((one for one in FORMATS if one in accept), default)
    if content_type in COMPRESSED_FORMATS and accepts_gzip(headers.get("accept-encoding", "")):
        return COMPRESSED_FORMATS[content_type], content_type
    return FORMATS[content_type], content_type


async def _beat(response: BaseHTTPResponse, heartbeat: bytes, period_s: float, stopped: asyncio.Event) -> None:
    while not stopped.is_set():
        try:
            async with asyncio.timeout(period_s):
                await stopped.wait()
        except TimeoutError:
            await response.send(heartbeat)


async def _pump(
    source: AsyncIterator[bytes],
    response: BaseHTTPResponse,
    form: StreamFormat,
    period_s: float,
    stopped: asyncio.Event,
) -> None:
    async for message in with_heartbeat(source, period_s):
        if stopped.is_set():
            return
        if message is None:
            await response.send(form.heartbeat)
        else:
            frame = form.framing.frame(Message("", message))
            await response.send(block(frame) if form.headers else frame)


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
