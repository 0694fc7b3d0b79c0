"""The command line. Each module of this folder owns some commands; this file lists them."""

import sys

import typer

from sanic_qserver.cli import configuration, demo, extensions, policy, serve
from sanic_qserver.errors import ConfigError

COMMANDS = (*serve.COMMANDS, *demo.COMMANDS, *configuration.COMMANDS, *policy.COMMANDS, *extensions.COMMANDS)


def main() -> None:
    """Run the command that the arguments name. A mistake in the configuration ends with its text and code 2."""
    app = typer.Typer(
        name="sanic-qserver",
        help="The HTTP face of the Bluesky Queue Server's RE Manager.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    for command in COMMANDS:
        app.command()(command)
    try:
        app()
    except ConfigError as error:
        print(f"sanic-qserver: {error}", file=sys.stderr)
        sys.exit(2)
