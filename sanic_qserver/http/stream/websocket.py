"""Websockets: handshake, gate, then the row's messages as text frames until the client leaves."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

from sanic import HTTPResponse, Request
from sanic.exceptions import WebsocketClosed
from sanic.server.websockets.impl import WebsocketImplProtocol

from sanic_qserver.api.call import Call
from sanic_qserver.api.endpoint import Stream
from sanic_qserver.api.services import Services
from sanic_qserver.errors import GatewayError, UpgradeRequired
from sanic_qserver.http.application import Handler
from sanic_qserver.http.decode import Decoder
from sanic_qserver.http.errors import respond
from sanic_qserver.http.gate import Gate
from sanic_qserver.http.request_id import read_request_id
from sanic_qserver.http.server.connection import find_connection
from sanic_qserver.http.stream.handshake import choose_framing
from sanic_qserver.http.stream.subscribers import Subscription, Subscriptions
from sanic_qserver.http.stream.websocket_auth import admit_websocket, choose_subprotocols, close, refuse
from sanic_qserver.manager.live.subscriber import Subscriber

log = logging.getLogger("sanic_qserver.http")


def wants_websocket(request: Request) -> bool:
    """Whether the request asks for an upgrade to a websocket."""
    return str(request.headers.get("upgrade", "")).lower() == "websocket"


def websocket_handler(row: Stream, gate: Gate, services: Services, subscriptions: Subscriptions) -> Handler:
    """Builds the handler of a row: handshake, gate, messages."""
    decoder = Decoder(row.params, max_nesting=services.config.server.max_nesting, forward_unknown=False)

    async def handle(request: Request) -> HTTPResponse | None:
        if not wants_websocket(request):
            return respond(UpgradeRequired("This path is a websocket", headers={"Upgrade": "websocket"}), request)
        websocket = await find_connection(request).websocket_handshake(request, choose_subprotocols(request))
        # Sanic's recv() raises CancelledError when the client leaves.
        with contextlib.suppress(asyncio.CancelledError, WebsocketClosed):
            try:
                params, _ = decoder.decode(b"", request.query_string, "")
                seen = row.for_params(params)
                call = await admit_websocket(request, websocket, seen, gate)
                if call is not None:
                    call.params = params
                    await watch(request, websocket, seen, call)
            except GatewayError as error:
                await refuse(websocket, error)
            except Exception:  # After the handshake an error cannot be answered over HTTP.
                log.exception("Unexpected error on a websocket, request %s: %s", read_request_id(request), request.path)
                await close(websocket, 1011, "An unexpected error occurred")
        websocket.end_connection(1000)
        return None

    async def watch(request: Request, websocket: WebsocketImplProtocol, row: Stream, call: Call) -> None:
        async with gate.hold_slot(call):
            source = row.source(call)
            subscription = Subscription(call.access, row, _closing(websocket))
            if isinstance(source, AsyncIterator):
                await _follow_iterator(source, websocket, subscriptions, subscription)
            else:
                await _follow_subscriber(await source, request, websocket, subscriptions, subscription)

    handle.__name__ = row.name
    return handle


def _closing(websocket: WebsocketImplProtocol) -> Callable[[GatewayError], Awaitable[None]]:
    async def close(why: GatewayError) -> None:
        await refuse(websocket, why)
        websocket.end_connection(1001)  # type: ignore[no-untyped-call]
        if websocket.auto_closer_task is not None:
            await asyncio.wait([websocket.auto_closer_task])

    return close


async def _follow_subscriber(
    subscriber: Subscriber,
    request: Request,
    websocket: WebsocketImplProtocol,
    subscriptions: Subscriptions,
    subscription: Subscription,
) -> None:
    subscription.scopes = subscriber.scopes
    subscriptions.add(subscription)
    try:
        if websocket.io_proto is not None and websocket.io_proto.transport is not None:
            find_connection(request).exempt()  # The broadcaster has its own limit for clients that do not read.
            subscriber.attach(websocket.io_proto.transport, choose_framing(websocket))
            await _ignore_input(websocket)
    finally:
        subscriber.close()
        subscriptions.remove(subscription)


async def _follow_iterator(
    source: AsyncIterator[bytes],
    websocket: WebsocketImplProtocol,
    subscriptions: Subscriptions,
    subscription: Subscription,
) -> None:
    async def pump() -> None:
        async for message in source:
            await websocket.send(message.decode())

    subscriptions.add(subscription)
    pumping = asyncio.ensure_future(pump())
    reading = asyncio.ensure_future(_ignore_input(websocket))
    try:
        done, _ = await asyncio.wait((pumping, reading), return_when=asyncio.FIRST_COMPLETED)
        done.pop().result()
    finally:
        subscriptions.remove(subscription)
        pumping.cancel()
        reading.cancel()


async def _ignore_input(websocket: WebsocketImplProtocol) -> None:
    while True:  # What clients send is read and ignored.
        await websocket.recv()
