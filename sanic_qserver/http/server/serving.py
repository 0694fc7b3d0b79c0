"""Serve an application on sockets until it is told to stop, then drain: no request that was sent is cut or broken.

Sanic's runner is not used. It ignores SIGTERM from the moment it listens until its loop turns, closes the listening
socket with connections still in its queue, and closes idle connections on which a request is already on its way. Its
`create_server` gives the parts; the order is ours:

1. `/readyz` says 503, each answer carries `Connection: close`; new connections are served for `drain_delay_s`.
2. What waits in the queue of the listening sockets is accepted, then they are closed.
3. Websockets are closed with 1001, event streams end with a `retry:`.
4. Requests finish; a connection is closed when nothing came over it for a while (`connections.finish`).
5. After `shutdown_timeout_s` what is left is answered with 503 or cut off.
"""

import asyncio
import contextlib
import select
import socket
from collections.abc import Callable, Sequence
from typing import Any

from sanic_qserver.config.settings import ServerConfig
from sanic_qserver.http.application import App
from sanic_qserver.http.server.tls import choose_protocol

BACKLOG = 1024  # Connections that may wait to be accepted.
_MOST_TURNS = 1000


class Stop:
    """Whether the server is to stop, and in haste: then the drain waits for nothing."""

    def __init__(self) -> None:
        self.asked, self.hurry = asyncio.Event(), asyncio.Event()

    def ask(self, *, is_in_haste: bool = False) -> None:
        """Ask from inside the loop."""
        self.asked.set()
        if is_in_haste:
            self.hurry.set()


async def serve_until(
    stop: Stop,
    app: App,
    listeners: Sequence[socket.socket],
    server: ServerConfig,
    *,
    are_kept: bool,
    say: Callable[[str], None],
) -> None:
    """Serve until it is asked to stop, and drain.

    `are_kept`: the listening sockets are somebody else's too, who goes on with what waits in their queues.
    `say` is called with "ready" and "stopping", and with "reloading" and "reloaded" at SIGHUP.
    Raises what a start-up listener raises.
    """
    app.ctx.say = say
    starting = asyncio.ensure_future(_start(app, listeners))
    asking = asyncio.ensure_future(stop.asked.wait())
    await asyncio.wait((starting, asking), return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        await asyncio.wait((starting,), timeout=server.shutdown_timeout_s)
    if not starting.done():
        starting.cancel()  # It waits for something that does not come. Nobody was served.
        await asyncio.gather(starting, return_exceptions=True)
        return
    servers = starting.result()
    if not stop.asked.is_set():
        say("ready")
    await asking
    say("stopping")
    await _drain(stop, app, servers, listeners, server, are_kept=are_kept)


async def _start(app: App, listeners: Sequence[socket.socket]) -> list[Any]:
    servers: list[Any] = [
        await app.create_server(
            sock=listener,
            protocol=choose_protocol(app),
            backlog=BACKLOG,
            access_log=False,  # It has its own.
            return_asyncio_server=True,
            asyncio_server_kwargs={"start_serving": False},
        )
        for listener in listeners
    ]
    await servers[0].startup()
    await servers[0].before_start()
    for one in servers:
        await one.start_serving()
    await servers[0].after_start()
    return servers


async def _drain(
    stop: Stop,
    app: App,
    servers: Sequence[Any],
    listeners: Sequence[socket.socket],
    server: ServerConfig,
    *,
    are_kept: bool,
) -> None:
    connections = app.ctx.connections
    connections.is_draining = True
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(server.drain_delay_s):
            await stop.hurry.wait()
    if not are_kept:
        await _accept_all(listeners)
    for one in servers:
        one.server.close()
    await servers[0].before_stop()
    await connections.finish(server.shutdown_timeout_s, stop.hurry)
    await servers[0].after_stop()


async def _accept_all(listeners: Sequence[socket.socket]) -> None:
    """Let the loop accept whoever has connected: closing the socket would reset those. Returns when nobody waits."""
    waiting = select.poll()
    for listener in listeners:
        waiting.register(listener.fileno(), select.POLLIN)
    for _ in range(_MOST_TURNS):
        if not waiting.poll(0):
            return
        await asyncio.sleep(0)
