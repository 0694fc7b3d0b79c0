"""`start-bluesky-httpserver`: the reference server's command with its options, for start scripts of today."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from sanic_qserver.cli.serve import run
from sanic_qserver.config.settings import load
from sanic_qserver.errors import ConfigError


def start(
    host: Annotated[str | None, typer.Option(help="The address to bind. Default 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="The port to bind. Default 60610.")] = None,
    public: Annotated[
        bool, typer.Option("--public", help="Callers without a credential may do what the public role may.")
    ] = False,
    config_path: Annotated[
        Path | None, typer.Option("--config_path", help="A YAML file or folder of bluesky-httpserver, or a TOML file.")
    ] = None,
) -> None:
    """Serve RE Manager over HTTP: `sanic-qserver serve` with the options of bluesky-httpserver."""
    given = {"host": host, "port": port}
    overrides: dict[str, Any] = {"server": {name: value for name, value in given.items() if value is not None}}
    if public:
        overrides["auth"] = {"allow_anonymous_access": True}
    run(load(config_path, overrides=overrides))


def start_server() -> None:
    """The entry point. A mistake in the configuration ends with its text and code 2."""
    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None, add_completion=False)
    app.command()(start)
    try:
        app()
    except ConfigError as error:
        print(f"start-bluesky-httpserver: {error}", file=sys.stderr)
        sys.exit(2)
