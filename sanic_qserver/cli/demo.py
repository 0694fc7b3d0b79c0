"""`sanic-qserver demo`: a whole instrument and the server, with one command."""

import contextlib
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from sanic_qserver.app import create_app
from sanic_qserver.cli.options import name_unwritable
from sanic_qserver.cli.ports import await_free_port
from sanic_qserver.cli.serve import run
from sanic_qserver.config.settings import ENVIRONMENT, Config, load, shipped
from sanic_qserver.demo import Instrument, Part, PartFailed, is_taken, state_folder

DEFAULT_CONTROL_PORT = 60615
DEFAULT_INFO_PORT = 60625


def demo(
    host: Annotated[str, typer.Option(help="The address to bind.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to bind.")] = 60610,
    state: Annotated[Path | None, typer.Option(help="Keep queue and history in this folder.")] = None,
    is_open: Annotated[bool, typer.Option("--open", help="No key needed. Loopback only.")] = False,
    extension: Annotated[list[str] | None, typer.Option(help="A custom module to load; may be repeated.")] = None,
) -> None:
    """Start all that is needed to try the server.

    A Redis of its own, RE Manager with simulated devices, and the server. Ctrl-C ends all of it.
    """
    sections = _sections(host, port, is_open=is_open)
    sections["extensions"] = {"modules": extension or [], "paths": [str(Path.cwd())]}
    create_app(load(environment={}, overrides=sections), name="check")  # Mistakes show before anything is started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    await_free_port(host, port)
    if state is not None:
        with name_unwritable(state):
            state.mkdir(parents=True, exist_ok=True)
    print("Starting Redis and RE Manager with simulated devices ...", flush=True)
    try:
        with state_folder(state) as folder, _instrument(folder) as instrument:
            # What the server keeps goes with the queue: a key of an earlier demo would answer for items that are gone.
            sections["source"] = str(folder.resolve() / "demo")
            config = load(environment=_clean_environment(instrument), overrides=sections)
            _say_hello(config, instrument, is_open=is_open)
            _watch(instrument)
            run(config)
            print("Stopping ...", flush=True)
    except PartFailed as error:
        print(f"sanic-qserver: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


@contextlib.contextmanager
def _instrument(folder: Path) -> Iterator[Instrument]:
    """The instrument, on the usual ports if they are free, so that `qserver` finds it too."""

    def usual(port: int) -> int:
        return 0 if is_taken("0.0.0.0", port) else port  # noqa: S104  # RE Manager's own default binds so

    control, info = usual(DEFAULT_CONTROL_PORT), usual(DEFAULT_INFO_PORT)
    with Instrument(folder, control_port=control, info_port=info) as instrument:
        yield instrument


def _sections(host: str, port: int, *, is_open: bool) -> dict[str, Any]:
    """The settings of the demo. The key may be chosen in the environment."""
    key = os.environ.get("QSERVER_HTTP_SERVER_SINGLE_USER_API_KEY") or secrets.token_hex(16)
    policy = {"permissions": str(shipped("policies/open.yaml"))} if is_open else {}
    return {"server": {"host": host, "port": port}, "auth": {"single_user_api_key": key}, "policy": policy}


def _clean_environment(instrument: Instrument) -> dict[str, str]:
    """The environment, less what would lead to another RE Manager, plus what leads to this one."""
    leading = {name for name, _ in ENVIRONMENT} | {"QSERVER_HTTP_SERVER_CONFIG"}
    return {name: value for name, value in os.environ.items() if name not in leading} | instrument.environment


def _say_hello(config: Config, instrument: Instrument, *, is_open: bool) -> None:
    url = f"http://{config.server.host}:{config.server.port}"
    key = "" if is_open else f" 'Authorization:ApiKey {config.auth.single_user_api_key}'"
    plan = """item:='{"name":"count", "args":[["det1", "det2"]], "item_type":"plan"}'"""
    print(
        f"""
Ready. Redis, RE Manager ({instrument.control_address}) and server keep their state and logs in {instrument.folder}
  Address  {url}      in a browser: the operator's page; {url}/docs: interactive documentation
  Key      {"none needed" if is_open else config.auth.single_user_api_key}

Three commands to try, in another terminal (`http` is HTTPie: pip install httpie). The environment takes some seconds
to open; then the plan runs:
  http POST {url}/api/environment/open{key}
  http POST {url}/api/queue/item/add {plan}{key}
  http POST {url}/api/queue/start{key}

Ctrl-C ends all of it.
""",
        flush=True,
    )


def _watch(instrument: Instrument) -> None:
    """Say so when a part ends while the server runs: `/manager/stop` does that to RE Manager."""

    def watch(part: Part) -> None:
        while part.is_running:
            time.sleep(0.5)
        if part in (instrument.redis, instrument.manager):
            code = part.process.returncode
            print(f"{part.name} ended with code {code}. Its log ends so:\n{part.tail(5)}", flush=True)

    for part in (instrument.redis, instrument.manager):
        if part is not None:
            threading.Thread(target=watch, args=(part,), daemon=True).start()


COMMANDS = (demo,)
