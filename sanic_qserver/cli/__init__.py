"""The command line. Each module of this folder owns some commands; this file lists them."""

import logging
import sys
from typing import Annotated

import typer

from sanic_qserver import __version__
from sanic_qserver.cli import auth, configuration, demo, extensions, migrate, policy, serve
from sanic_qserver.cli.doctor import command as doctor
from sanic_qserver.errors import ConfigError

_MODULES = (serve, demo, configuration, doctor, policy, extensions, auth, migrate)
COMMANDS = tuple(command for module in _MODULES for command in module.COMMANDS)


_FIRST_STEPS = (
    "To try it: sanic-qserver demo. For an RE Manager of your own: sanic-qserver init FOLDER, then sanic-qserver check "
    "and sanic-qserver serve with --config FOLDER/config.toml."
)


def _asked(is_asked: bool) -> None:
    if is_asked:
        print(f"sanic-qserver {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[  # typer calls back
        bool, typer.Option("--version", help="Print the version and end.", callback=_asked, is_eager=True)
    ] = False,
) -> None:
    """The HTTP face of the Bluesky Queue Server's RE Manager."""


def main() -> None:
    """Run the command that the arguments name. A mistake in the configuration ends with its text and code 2."""
    app = typer.Typer(
        name="sanic-qserver",
        help="The HTTP face of the Bluesky Queue Server's RE Manager.",
        epilog=_FIRST_STEPS,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # Square brackets in a text are no style.
    )
    # Commands say by themselves what is wrong; `serve` sets up logging, and others would print the same twice.
    logging.getLogger("sanic_qserver").addHandler(logging.NullHandler())
    app.callback()(_options)
    for command in COMMANDS:
        app.command()(command)
    try:
        app()
    except ConfigError as error:
        print(f"sanic-qserver: {error}", file=sys.stderr)
        sys.exit(2)
