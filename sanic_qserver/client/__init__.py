"""`qsctl`, the command line over HTTP. It knows nothing of the server but what stands in its documentation.

Each module of this folder owns some commands; this file lists them. httpx is loaded when a command needs it: the
program must start fast.
"""

import json
import sys
from contextlib import closing
from typing import Annotated, Any

import typer

from sanic_qserver import __version__
from sanic_qserver.client import adding, control, items, login, top, watching
from sanic_qserver.client.agents import server as agents
from sanic_qserver.client.failures import BROKEN_PIPE, INTERRUPTED, Failure, WrongUsage
from sanic_qserver.client.options import environment, hoist
from sanic_qserver.client.output import PipeClosed, clean, close_quietly
from sanic_qserver.client.runtime import Runtime


class _Interrupted(Failure):
    """Somebody pressed ctrl-C."""

    exit_code = INTERRUPTED


_MODULES = (watching, adding, items, control, login, top, agents)
# typer 0.28 has its own copy of click; before, it was click's.
CLICK_EXCEPTION: Any = next(one for one in typer.BadParameter.__mro__ if one.__name__ == "ClickException")
EPILOG = (
    "Everywhere: --server URL, --profile NAME, --json, --ca-file FILE, --api-key-file FILE, --lock-key-file FILE, "
    "--timeout SECONDS. Ends with 0 done, 1 refused, 2 wrong usage, 3 not permitted, 4 unreachable, 5 outcome unknown."
)


def _asked(is_asked: bool) -> None:
    if is_asked:
        sys.stdout.write(f"qsctl {__version__}\n")
        raise typer.Exit


def _options(
    version: Annotated[  # typer calls back
        bool, typer.Option("--version", help="Print the version and end.", callback=_asked, is_eager=True)
    ] = False,
) -> None:
    """Work with an instrument's queue, over HTTP."""


def build_app() -> typer.Typer:
    """All commands."""
    shared: dict[str, Any] = {"no_args_is_help": True, "rich_markup_mode": None}
    app = typer.Typer(name="qsctl", epilog=EPILOG, pretty_exceptions_enable=False, **shared)
    app.callback()(_options)
    for module in _MODULES:
        for command in module.COMMANDS:
            settings = getattr(module, "SETTINGS", {}).get(command.__name__, {})
            app.command(name=command.__name__, **settings)(command)
        for name, (text, commands) in getattr(module, "GROUPS", {}).items():
            group = typer.Typer(help=text, **shared)
            for verb, command in commands.items():
                group.command(name=verb)(command)
            app.add_typer(group, name=name)
    return app


def main() -> None:
    """Run the command that the arguments name. What goes wrong ends with a text and an exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """The exit code of a command."""
    is_json = "--json" in arguments
    try:
        options, rest = hoist(arguments)
        with closing(Runtime(options, environment())) as runtime:
            code = build_app()(rest, prog_name="qsctl", obj=runtime, standalone_mode=False)
    except Failure as failure:
        _tell(failure, is_json=is_json)
        return failure.exit_code
    except CLICK_EXCEPTION as error:
        if is_json:
            _tell(WrongUsage(error.format_message()), is_json=True)
        else:
            error.show()
        return int(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except PipeClosed:
        close_quietly()
        return BROKEN_PIPE
    if code == INTERRUPTED:  # typer turns ctrl-C into this code
        _tell(_Interrupted("interrupted"), is_json=is_json)
    return code if isinstance(code, int) else 0


def _tell(failure: Failure, *, is_json: bool) -> None:
    """Say what went wrong, and what to do, on the error stream."""
    if is_json:
        error = {"text": failure.text, "hint": failure.hint, "exit_code": failure.exit_code, **failure.details}
        sys.stderr.write(json.dumps({"error": error}, default=str) + "\n")
        return
    sys.stderr.write(clean(f"qsctl: {failure.text}\n" + (f"{failure.hint}\n" if failure.hint else "")))
