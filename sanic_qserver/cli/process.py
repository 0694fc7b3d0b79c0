"""One process that serves: the whole server, or one of its workers."""

import asyncio
import gc
import multiprocessing
import socket
from collections.abc import Callable, Sequence
from typing import Any

from sanic import Sanic

from sanic_qserver.app import create_app
from sanic_qserver.cli.listening import bind_sockets
from sanic_qserver.cli.stopping import StopSignals
from sanic_qserver.cli.systemd import alive_period_s
from sanic_qserver.config.settings import Config
from sanic_qserver.http.metrics.workers import Workers
from sanic_qserver.http.server.serving import Stop, serve_until
from sanic_qserver.http.stream.memory import trim_heap


def serve_process(
    config: Config,
    listeners: Sequence[socket.socket],
    signals: StopSignals,
    *,
    are_kept: bool,
    say: Callable[[str], None],
    workers: Workers | None = None,
) -> None:
    """Serve in this process until a signal comes, or the process above it has ended.

    Without listeners, its own are bound when all else is there. `say`: see `serve_until`, and "alive" now and then.
    `workers`: those that this process is one of.
    """
    app = app_to_serve(config, workers)
    listeners = listeners or bind_sockets(config.server)
    signals.check()
    app.setup_loop()  # uvloop, where there is one

    async def serve_it() -> None:
        stop, loop = Stop(), asyncio.get_running_loop()
        signals.tell(lambda: loop.call_soon_threadsafe(lambda: stop.ask(is_in_haste=signals.is_in_haste)))
        if (parent := multiprocessing.parent_process()) is not None:
            loop.add_reader(parent.sentinel, _note_orphaned, loop, parent.sentinel, stop)
        alive = loop.create_task(_keep_saying(say, alive_period_s()))
        await serve_until(stop, app, listeners, config.server, are_kept=are_kept, say=say)
        alive.cancel()

    with asyncio.Runner() as runner:
        runner.run(serve_it())


async def _keep_saying(say: Callable[[str], None], period_s: float) -> None:
    while period_s:
        say("alive")
        await asyncio.sleep(period_s)


def _note_orphaned(loop: asyncio.AbstractEventLoop, sentinel: int, stop: Stop) -> None:
    loop.remove_reader(sentinel)
    stop.ask()


def app_to_serve(config: Config, workers: Workers | None = None) -> Sanic[Any, Any]:
    """The application. Raises ConfigError."""
    app = create_app(config, workers=workers)
    app.after_server_start(_settle_memory)
    return app


def _settle_memory(_: Sanic[Any, Any]) -> None:
    """Give back what starting took for a moment: half of what importing a large library takes.

    What is there then stays for good: a full collection need not look at it (measured: 0.3 instead of 40 ms).
    """
    gc.collect()
    trim_heap()
    gc.freeze()
