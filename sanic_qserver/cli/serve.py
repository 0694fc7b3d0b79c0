"""`sanic-qserver serve`: the server."""

import gc
import logging
import secrets
import signal
import sys
from functools import partial
from typing import Annotated, Any

import msgspec
import typer
from sanic import Sanic
from sanic.worker.loader import AppLoader

from sanic_qserver.app import create_app
from sanic_qserver.cli.options import ConfigFile
from sanic_qserver.cli.ports import await_free_port
from sanic_qserver.cli.reloading import serve_again_and_again
from sanic_qserver.config.settings import Config, load
from sanic_qserver.errors import ConfigError
from sanic_qserver.http.server.connection import DeadlineProtocol

log = logging.getLogger("sanic_qserver")


def serve(
    config: ConfigFile = None,
    host: Annotated[str | None, typer.Option(help="The address to bind. Default 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="The port to bind. Default 60610.")] = None,
    workers: Annotated[int | None, typer.Option(help="Server processes. Default 1.")] = None,
    *,
    reload: Annotated[bool, typer.Option("--reload", help="Start anew when a custom module changes.")] = False,
) -> None:
    """Serve RE Manager over HTTP."""
    given = {"host": host, "port": port, "workers": workers}
    overrides = {"server": {name: value for name, value in given.items() if value is not None}}
    loaded = load(config, overrides=overrides)
    if not reload:
        run(loaded)
        return
    chosen = {"config": config, **given}
    arguments = [f"--{name}={value}" for name, value in chosen.items() if value is not None]
    # The key stays the same from start to start.
    key = _with_key(loaded).auth.single_user_api_key
    serve_again_and_again(loaded, arguments, {"QSERVER_HTTP_SERVER_SINGLE_USER_API_KEY": key} if key else {})


def run(config: Config) -> None:
    """Serve until SIGINT or SIGTERM. Raises ConfigError, also for a port that is taken."""
    start_logging()
    server = config.server
    await_free_port(server.host, server.port)
    config = _with_key(config)
    if server.workers == 1:
        app = _app_to_serve(config)
        _say_where(config)
        # Sanic's own handlers come only once it listens: a signal before that must end it in order too.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        app.run(server.host, server.port, single_process=True, **_options(config))
        return
    loader = AppLoader(factory=partial(_app_to_serve, config))
    app = loader.load()
    app.prepare(server.host, server.port, workers=server.workers, **_options(config))
    _say_where(config)
    Sanic.serve(primary=app, app_loader=loader)


def _app_to_serve(config: Config) -> Sanic[Any, Any]:
    app = create_app(config)
    # What is there now stays for good: a full collection need not look at it (measured: 0.3 instead of 40 ms).
    app.after_server_start(lambda _: gc.freeze())
    return app


def start_logging() -> None:
    """Log to standard error, one line a fact. Sanic's own chatter stays off."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    for name in ("sanic.root", "sanic.server", "httpx", "alembic.runtime.plugins"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("sanic.error").addFilter(_is_no_mistake)


def _is_no_mistake(record: logging.LogRecord) -> bool:
    """Sanic prints the traceback of what ends the start; of a mistake in the configuration one line is enough."""
    return not (record.exc_info and isinstance(record.exc_info[1], ConfigError))


def _with_key(config: Config) -> Config:
    """The configuration with an API key: all workers must know the same one. A made key is printed, once.

    A server with logins has no such key.
    """
    if config.auth.single_user_api_key or config.auth.providers:
        return config
    key = secrets.token_hex(24)
    print(f"No API key is configured, so here is one for this run: {key}", flush=True)
    print("Send it as the header 'Authorization: ApiKey …'. Set QSERVER_HTTP_SERVER_SINGLE_USER_API_KEY to keep one.")
    return msgspec.structs.replace(config, auth=msgspec.structs.replace(config.auth, single_user_api_key=key))


def _say_where(config: Config) -> None:
    host = f"[{config.server.host}]" if ":" in config.server.host else config.server.host
    # Whether RE Manager is there is told by the client's log lines, now and whenever it changes.
    print(
        f"Listening on http://{host}:{config.server.port} for RE Manager at {config.manager.control_address}",
        flush=True,
    )


def _options(config: Config) -> dict[str, Any]:
    return {"motd": False, "access_log": config.server.access_log, "protocol": DeadlineProtocol}


COMMANDS = (serve,)
