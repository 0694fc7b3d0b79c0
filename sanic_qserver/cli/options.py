"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="The configuration, a TOML file.", envvar="QSERVER_HTTP_SERVER_CONFIG"),
]
