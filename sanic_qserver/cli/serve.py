"""`sanic-qserver serve`: the server."""

import secrets
import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated

import msgspec
import typer

from sanic_qserver.cli.listening import describe_address, format_address, take_passed_sockets
from sanic_qserver.cli.logs import start_logging
from sanic_qserver.cli.options import ConfigFile
from sanic_qserver.cli.ports import await_free_port
from sanic_qserver.cli.process import app_to_serve, serve_process
from sanic_qserver.cli.reloading import serve_again_and_again
from sanic_qserver.cli.stopping import StopSignals
from sanic_qserver.cli.systemd import notify_stopping, say_to_systemd
from sanic_qserver.cli.workers import supervise
from sanic_qserver.config.settings import Config, load


def serve(
    config: ConfigFile = None,
    host: Annotated[str | None, typer.Option(help="The address to bind. Default 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="The port to bind. Default 60610.")] = None,
    workers: Annotated[int | None, typer.Option(help="Server processes. Default 1.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error. Default info.")] = None,
    log_format: Annotated[str | None, typer.Option(help="text or json. Default text.")] = None,
    *,
    reload: Annotated[bool, typer.Option("--reload", help="Start anew when a custom module changes.")] = False,
) -> None:
    """Serve RE Manager over HTTP."""
    given = {"host": host, "port": port, "workers": workers}
    logs = {"level": log_level, "format": log_format}
    overrides = {
        section: {name: value for name, value in values.items() if value is not None}
        for section, values in (("server", given), ("log", logs))
    }
    loaded = load(config, overrides=overrides)
    if not reload:
        run(loaded, lambda: load(config, overrides=overrides))
        return
    chosen = {"config": config, **given, "log-level": log_level, "log-format": log_format}
    arguments = [f"--{name}={value}" for name, value in chosen.items() if value is not None]
    # The key stays the same from start to start.
    key = _with_key(loaded).auth.single_user_api_key
    serve_again_and_again(loaded, arguments, {"QSERVER_HTTP_SERVER_SINGLE_USER_API_KEY": key} if key else {})


def run(config: Config, load_again: Callable[[], Config] | None = None) -> None:
    """Serve until SIGINT or SIGTERM. Raises ConfigError, also for a port that is taken.

    `load_again`: how workers that are replaced get the configuration of then. None: that of now.
    """
    with StopSignals() as signals:
        start_logging(config.log)
        passed = take_passed_sockets()
        if not passed and not config.server.unix_socket:
            await_free_port(config.server.host, config.server.port)
        config = _with_key(config)
        if config.server.workers == 1:
            serve_process(config, passed, signals, are_kept=bool(passed), say=partial(_say, config, passed))
        else:
            app_to_serve(config)  # A mistake shows before anything is started.
            supervise(config, passed, signals, load_again or (lambda: config))


def _say(config: Config, passed: Sequence[socket.socket], what: str) -> None:
    if what == "ready":
        _say_where(config, passed)
    if what == "stopping":
        notify_stopping(config.server)
    else:
        say_to_systemd(what)


def _with_key(config: Config) -> Config:
    """The configuration with an API key: all workers must know the same one. A made key is printed, once.

    A server with logins has no such key, and one with replicas is refused without.
    """
    if config.auth.single_user_api_key or config.auth.providers or config.replicas.redis or config.server.workers > 1:
        return config
    key = secrets.token_hex(24)
    print(f"No API key is configured, so here is one for this run: {key}", flush=True)
    print("Send it as the header 'Authorization: ApiKey …'. Set QSERVER_HTTP_SERVER_SINGLE_USER_API_KEY to keep one.")
    return msgspec.structs.replace(config, auth=msgspec.structs.replace(config.auth, single_user_api_key=key))


def _say_where(config: Config, passed: Sequence[socket.socket]) -> None:
    server = config.server
    scheme = "https" if server.tls_certificate else "http"
    # Whether RE Manager is there is told by the client's log lines, now and whenever it changes.
    where = f"unix:{server.unix_socket}" if server.unix_socket else format_address(server.host, server.port)
    places = [describe_address(listener) for listener in passed] or [where]
    named = ", ".join(place if place.startswith("unix:") else f"{scheme}://{place}" for place in places)
    print(f"Listening on {named} for RE Manager at {config.manager.control_address}", flush=True)


COMMANDS = (serve,)
