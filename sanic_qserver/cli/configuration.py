"""`sanic-qserver init`, `check` and `routes`: the configuration and what it gives."""

import asyncio
import re
import shutil
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from sanic_qserver.api.endpoint import Endpoint, Stream
from sanic_qserver.api.services import Services
from sanic_qserver.api.table import ENDPOINTS, STREAMS
from sanic_qserver.cli.checking import app_to_look_at, collect_warnings
from sanic_qserver.cli.options import ConfigFile, name_unwritable
from sanic_qserver.config.settings import Config, load, shipped
from sanic_qserver.errors import ConfigError
from sanic_qserver.http.openapi import document


def init(
    folder: Annotated[Path, typer.Argument(help="Where to write; made if it is not there.")],
) -> None:
    """Write config.toml and policies/ into a folder, to edit."""
    text = shipped("config.toml").read_text("utf-8")
    # The written configuration uses the policies beside it, not the shipped ones.
    active = re.sub(r'^# (\w+ = "policies/[^"]*")', r"\1", text, flags=re.MULTILINE)
    with name_unwritable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for existing in (folder / "config.toml", folder / "policies"):
            if existing.exists():
                raise ConfigError(f"{existing} is there already and is left as it is")
        (folder / "config.toml").write_text(active, "utf-8")
        shutil.copytree(shipped("policies"), folder / "policies")
    print(f"Wrote {folder / 'config.toml'} and {folder / 'policies'}/")
    print(f"Start: sanic-qserver serve --config {folder / 'config.toml'}")


def check(
    config: ConfigFile = None,
    *,
    online: Annotated[bool, typer.Option("--online", help="Ask RE Manager, databases, Redis and logins too.")] = False,
    login: Annotated[str, typer.Option(help="With --online: a login to try, as provider:name.")] = "",
) -> None:
    """Check a configuration, its policies and custom modules.

    Ends with 0 when all is well, 1 for warnings, 2 for mistakes. Nothing is written. With --online RE Manager,
    databases, Redis and logins are asked whether they answer, and --login tries a login.
    """
    loaded = load(config)
    app = app_to_look_at(loaded, "check")
    warnings = list(collect_warnings(loaded, app))
    for warning in warnings:
        print(f"warning: {warning}")
    if online:
        warnings += asyncio.run(_ask_all(loaded, app.ctx.services, login))
    print(f"{loaded.source or 'the defaults'}: {'usable, with warnings' if warnings else 'OK'}")
    raise typer.Exit(1 if warnings else 0)


async def _ask_all(config: Config, services: Services, login: str) -> list[str]:
    """What is not well."""
    from sanic_qserver.cli.doctor.asking import ask_all  # noqa: PLC0415  # for this option only

    bad = []
    async for finding in ask_all(config, services, login):
        print(f"{_WORDS[finding.state]}: {finding.what}: {finding.said}")
        bad += [] if finding.state == "ok" else [finding.what]
    return bad


_WORDS = {"ok": "ok", "warning": "warning", "failed": "FAILED"}


def _rows(config: Path | None) -> tuple[tuple[Endpoint, ...], tuple[Stream, ...]]:
    """What is served: with a configuration, its custom modules too."""
    if config is None:
        return ENDPOINTS, STREAMS
    rows = app_to_look_at(load(config), "rows").ctx.rows
    return (
        tuple(row for row in rows if isinstance(row, Endpoint)),
        tuple(row for row in rows if isinstance(row, Stream)),
    )


def _say_around(row: Endpoint) -> str:
    inside = f"inside: {', '.join(layer.value for layer in row.inside)}" if row.inside else ""
    return "; ".join(filter(None, [", ".join(layer.value for layer in row.around), inside]))


def routes(
    config: ConfigFile = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="The middleware of each, outermost first, too.")] = False,
) -> None:
    """Print what is served, and which scope it asks for. With a configuration, its custom modules too."""
    from rich.console import Console  # noqa: PLC0415  # a tenth of a second that `serve` does not need
    from rich.table import Table  # noqa: PLC0415

    endpoints, streams = _rows(config)
    heads = ("Verb", "Path", "Scope", "RE Manager's method", *(("Middleware",) if verbose else ()), "What it does")
    table = Table(*heads, box=None)
    for row in endpoints:
        for verb, path in ((row.verb, row.path), *row.aliases):
            is_alias = (verb, path) != (row.verb, row.path)
            does = f"The same as {row.verb} /api{row.path}" if is_alias else row.summary
            cells = [verb, "/api" + path, str(row.scope or "public"), row.method, does]
            table.add_row(*cells[:-1], *([_say_around(row)] if verbose else []), cells[-1])
    for stream in streams:
        verb = "WS" if stream.is_websocket else "GET"
        cells = [verb, "/api" + stream.path, str(stream.scope or "public"), "(stream)", stream.summary]
        table.add_row(*cells[:-1], *([""] if verbose else []), cells[-1])
    # As wide as it needs to be where nobody looks: a pipe must get whole lines.
    console = Console()
    (console if console.is_terminal else Console(width=250)).print(table)


def openapi(config: ConfigFile = None) -> None:
    """Print the OpenAPI document. With a configuration, its custom modules too."""
    print(msgspec.json.format(msgspec.json.encode(document(*_rows(config))), indent=1).decode())


COMMANDS = (init, check, routes, openapi)
