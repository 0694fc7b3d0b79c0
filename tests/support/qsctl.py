"""`qsctl` in tests: in this process, which is fast, or as the program that people start."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from sanic_qserver import client

VARIABLES = ("QSERVER_HTTP_SERVER_URI", "QSERVER_HTTP_SERVER_API_KEY", "QSERVER_API_KEY")


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def records(self):
        """What was printed with `--json`."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self):
        """What was told of a failure with `--json`. There may be notes before it."""
        (error,) = [told["error"] for told in map(json.loads, self.err.splitlines()) if "note" not in told]
        return error


class Qsctl:
    """Commands with an environment and a state folder of their own, in this process."""

    def __init__(self, folder: Path, monkeypatch, capsys, **environment: str):
        self.folder, self._capsys = folder, capsys
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in {"XDG_STATE_HOME": str(folder), "QSCTL_KEYRING": "0", **environment}.items():
            monkeypatch.setenv(name, value)

    def __call__(self, *arguments) -> Ran:
        self._capsys.readouterr()
        code = client.run([str(one) for one in arguments])
        return Ran(code, *self._capsys.readouterr())

    def ok(self, *arguments) -> Ran:
        """A command that must be done."""
        ran = self(*arguments)
        assert ran.code == 0, ran.err
        return ran


def program(*arguments):
    """The command line that starts `qsctl` as a program."""
    return [sys.executable, "-c", "from sanic_qserver.client import main; main()", *map(str, arguments)]


def start(folder: Path, *arguments, environment=None, stdin=subprocess.DEVNULL, **more):
    """Start the program."""
    clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    env = {**clean, "XDG_STATE_HOME": str(folder), "QSCTL_KEYRING": "0", **(environment or {})}
    return subprocess.Popen(
        program(*arguments), env=env, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more
    )


def run(folder: Path, *arguments, environment=None, timeout_s=60, **more) -> Ran:
    """Run the program to its end."""
    with start(folder, *arguments, environment=environment, **more) as process:
        out, err = process.communicate(timeout=timeout_s)
    return Ran(process.returncode, out, err)
