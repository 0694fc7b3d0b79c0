"""The command `doctor`: every check, as a table or as JSON, and an exit code."""

import asyncio
import importlib.metadata
import platform
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from sanic_qserver import __version__
from sanic_qserver.cli.checking import app_to_look_at, collect_warnings
from sanic_qserver.cli.doctor.finding import Clock, Finding, Findings, State, failed, ok, warning
from sanic_qserver.cli.options import ConfigFile
from sanic_qserver.config.settings import Config, load
from sanic_qserver.errors import ConfigError
from sanic_qserver.http.application import App

_CODES: dict[State, int] = {"ok": 0, "warning": 1, "failed": 2}
_WIDTH = 32


def doctor(
    config: ConfigFile = None,
    url: Annotated[str, typer.Option(help="The running server, as its clients reach it: https://HOST/PREFIX.")] = "",
    key_file: Annotated[Path | None, typer.Option(help="A file with a key that may see the server's warnings.")] = None,
    *,
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Look at a whole deployment, and say what to do.

    Looked at are the configuration with its policies, RE Manager, databases, Redis, logins, clocks, certificates, modes
    of files, and the server that runs. Nothing is changed.

    Ends with 0 when all is well, 1 for warnings, 2 for failures.
    """
    key = _read_key(key_file) if key_file is not None else ""
    findings = asyncio.run(_collect(config, url, key, is_told=not json))
    worst = max((finding.state for finding in findings), key=_CODES.__getitem__)
    if json:
        print(msgspec.json.encode({"state": worst, "findings": findings}).decode())
    else:
        counts = {state: sum(finding.state == state for finding in findings) for state in _CODES}
        print(f"{counts['ok']} well, {counts['warning']} warnings, {counts['failed']} failures")
    raise typer.Exit(_CODES[worst])


async def _collect(config: Path | None, url: str, key: str, *, is_told: bool) -> list[Finding]:
    findings = []
    async for finding in examine(config, url, key):
        findings.append(finding)
        if is_told:
            print(f"{finding.state:8} {finding.what:{_WIDTH}} {finding.said}")
            if finding.do:
                print(f"{'':8} {'':{_WIDTH}} -> {finding.do}", flush=True)
    return findings


async def examine(config: Path | None, url: str, key: str, clock: Clock = time.time) -> Findings:
    """All findings, each as soon as it is there."""
    yield ok("versions", _say_versions())
    try:
        loaded = load(config)
        app = await asyncio.to_thread(app_to_look_at, loaded, "doctor")
    except ConfigError as error:
        yield failed("configuration", str(error), "put it right: the server does not start with it")
        return
    source = loaded.source or "the defaults"
    yield ok("configuration", f"{source}, with its policies")
    for text in collect_warnings(loaded, app):
        yield warning("configuration", text, "put it right, or accept it knowingly")
    async for finding in _examine_deployment(loaded, app, url, key, clock):
        yield finding


async def _examine_deployment(config: Config, app: App, url: str, key: str, clock: Clock) -> Findings:
    from sanic_qserver.cli.doctor.asking import ask_all  # noqa: PLC0415
    from sanic_qserver.cli.doctor.files import check_certificate, check_modes  # noqa: PLC0415  # for this command only
    from sanic_qserver.cli.doctor.listening import check_server  # noqa: PLC0415

    async for finding in ask_all(config, app.ctx.services, "", clock):
        yield finding
    for finding in (*check_certificate(config, clock), *check_modes(config)):
        yield finding
    async for finding in check_server(config.server, url, key, clock):
        yield finding


def _say_versions() -> str:
    parts = [f"{name} {importlib.metadata.version(name)}" for name in ("sanic", "pyzmq", "msgspec")]
    return ", ".join([f"sanic-qserver {__version__}", f"Python {platform.python_version()}", *parts])


def _read_key(file: Path) -> str:
    try:
        return file.read_text("utf-8").strip()
    except OSError as error:
        raise ConfigError(f"--key-file: {file} cannot be read: {error.strerror}") from None


COMMANDS = (doctor,)
