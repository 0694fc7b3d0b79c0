"""`sanic-qserver serve --reload`: the server as a process that starts anew when a file changes."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import watchfiles

from sanic_qserver.config.settings import Config

STOP_LIMIT_S = 10.0


def serve_again_and_again(config: Config, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Serve until Ctrl-C; start anew when Python files or the configuration change in the folders of the modules."""
    folders = sorted({(config.folder / path).resolve() for path in config.extensions.paths} | {config.folder})
    print(f"Watching {', '.join(map(str, folders))} for changes", flush=True)
    # SIGTERM ends the watching as Ctrl-C does: otherwise the server would live on without its parent.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    server = _start(arguments, environment)
    try:
        # Ends by itself at Ctrl-C.
        for changes in watchfiles.watch(*folders, watch_filter=watchfiles.PythonFilter(extra_extensions=(".toml",))):
            print(f"Changed: {', '.join(sorted({Path(path).name for _, path in changes}))}. Starting anew.", flush=True)
            _stop(server)
            server = _start(arguments, environment)
    finally:
        _stop(server)


def _start(arguments: Sequence[str], environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "sanic_qserver", "serve", *arguments]
    return subprocess.Popen(command, env={**os.environ, **environment})  # noqa: S603  # our own command line


def _stop(server: "subprocess.Popen[bytes]") -> None:
    server.terminate()
    try:
        server.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
