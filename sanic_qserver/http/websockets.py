"""Websockets: handshake, gate, then the row's messages as text frames until the watcher leaves."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from sanic import HTTPResponse, Request
from sanic.exceptions import WebsocketClosed
from sanic.server.protocols.websocket_protocol import WebSocketProtocol
from sanic.server.websockets.impl import WebsocketImplProtocol

from sanic_qserver.endpoints.endpoint import Call, Endpoint, Stream
from sanic_qserver.endpoints.services import Services
from sanic_qserver.errors import GatewayError, UpgradeRequired
from sanic_qserver.http.decode import Decoder
from sanic_qserver.http.errors import respond
from sanic_qserver.http.gate import Gate
from sanic_qserver.http.request_id import request_id_of
from sanic_qserver.http.watchers import Watchers
from sanic_qserver.http.websocket_auth import admit_websocket, refuse, subprotocols_of
from sanic_qserver.structs.identity import Access


def wants_websocket(request: Request) -> bool:
    """Whether the request asks for an upgrade to a websocket."""
    return str(request.headers.get("upgrade", "")).lower() == "websocket"


async def shake_hands(request: Request) -> WebsocketImplProtocol:
    """Accept the websocket. Not by Sanic's own route: that can neither share its path nor look at the request first."""
    protocol = request.transport.get_protocol()
    assert isinstance(protocol, WebSocketProtocol)  # noqa: S101  # enable_websocket() was called
    return await protocol.websocket_handshake(request, subprotocols_of(request))


class OpenWebsocket:
    """A websocket that can be stopped."""

    def __init__(self, websocket: WebsocketImplProtocol) -> None:
        self._websocket = websocket

    async def stop(self) -> None:
        """Close with 1001, going away, and wait until the connection has ended."""
        self._websocket.end_connection(1001, "The server is stopping")
        if self._websocket.auto_closer_task is not None:
            await asyncio.wait([self._websocket.auto_closer_task])


def websocket_handler(row: Stream, gate: Gate, services: Services, watchers: Watchers) -> Callable[[Request], object]:
    """The way of one watcher: handshake, gate, messages."""
    decoder = Decoder(row.params, max_nesting=services.config.server.max_nesting, forward_unknown=False)

    async def handle(request: Request) -> HTTPResponse | None:
        if not wants_websocket(request):
            return respond(UpgradeRequired("This path is a websocket", headers={"Upgrade": "websocket"}), request)
        websocket = await shake_hands(request)
        watching = OpenWebsocket(websocket)
        watchers.add(watching)
        # Sanic's recv() raises CancelledError when the watcher leaves.
        with contextlib.suppress(asyncio.CancelledError, WebsocketClosed):
            await _serve(request, websocket)
        watchers.remove(watching)
        websocket.end_connection(1000)
        return None

    async def _serve(request: Request, websocket: WebsocketImplProtocol) -> None:
        access = await admit_websocket(request, websocket, row, gate)
        if access is None:
            return
        try:
            params, _ = decoder.decode(b"", request.query_string, "")
        except GatewayError as error:
            await refuse(websocket, error)
            return
        source = row.source(call_of(request, row, params, access, services))
        pump = asyncio.ensure_future(_pump(source, websocket))
        try:
            while True:  # What watchers send is read and ignored.
                await websocket.recv()
        finally:
            pump.cancel()

    handle.__name__ = row.name
    handle.is_websocket = True  # type: ignore[attr-defined]  # Sanic: None is a good answer
    return handle


def call_of(request: Request, row: Stream, params: object, access: Access, services: Services) -> Call:
    """What a stream's source gets."""
    return Call(
        endpoint=Endpoint("GET", row.path, row.scope, ""),
        params=params,  # type: ignore[arg-type]
        access=access,
        request_id=request_id_of(request),
        services=services,
        headers=request.headers,
        path_args={},
        address=request.client_ip,
    )


async def _pump(source: AsyncIterator[bytes], websocket: WebsocketImplProtocol) -> None:
    async for message in source:
        await websocket.send(message.decode())
