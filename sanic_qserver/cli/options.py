"""Options of several commands, and what they say when a folder cannot be written."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from sanic_qserver.errors import ConfigError

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="The configuration: a TOML file, or the YAML of bluesky-httpserver.",
        envvar="QSERVER_HTTP_SERVER_CONFIG",
    ),
]


@contextlib.contextmanager
def name_unwritable(folder: Path) -> Iterator[None]:
    """Raise ConfigError, naming the file, for what cannot be written within."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{error.filename or folder} cannot be written: {error.strerror}") from None
