"""Runs the worker: one process a file, ended when its time is over, a few at once at most."""

import logging
import os
import subprocess
import sys
import threading

import msgspec

from sanic_qserver.api.spreadsheets.grid import BadSheet, Limits
from sanic_qserver.api.spreadsheets.job import Job, Outcome
from sanic_qserver.config.settings import PACKAGE
from sanic_qserver.errors import Overloaded

log = logging.getLogger("sanic_qserver.spreadsheets")

# -P: the folder in which the server was started is not searched for modules.
COMMAND = (sys.executable, "-P", "-m", "sanic_qserver.api.spreadsheets.worker")
AT_ONCE = 2
_TAIL = 2000
# What a Python process needs. The rest of the environment may hold secrets, which a hostile file has no use for.
_NEEDED = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "PYTHONHOME", "SYSTEMROOT", "TMPDIR", "VIRTUAL_ENV")


class Isolation:
    """Reads files in processes of their own. Called from threads: it waits for the process."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._places = threading.BoundedSemaphore(AT_ONCE)

    def read(self, name: str, body: bytes, sheet: str = "", *, as_grid: bool = False) -> Outcome:
        """What the worker found. Raises BadSheet, or Overloaded (503) when others are read all the time."""
        if not self._places.acquire(timeout=self.limits.timeout_s):
            raise Overloaded("Other spreadsheets are being read", headers={"Retry-After": "10"})
        try:
            return self._read(Job(name=name, sheet=sheet, as_grid=as_grid, limits=self.limits), body)
        finally:
            self._places.release()

    def _read(self, job: Job, body: bytes) -> Outcome:
        try:
            done = subprocess.run(  # noqa: S603  # our own command line
                COMMAND,
                input=msgspec.json.encode(job) + b"\n" + body,
                capture_output=True,
                timeout=self.limits.timeout_s,
                check=False,
                env=_environment(),
            )
        except subprocess.TimeoutExpired:
            raise BadSheet(f"reading the file took more than {self.limits.timeout_s:g} s") from None
        if done.returncode != 0:
            log.error("Reading '%s' ended with %d:\n%s", job.name, done.returncode, done.stderr.decode()[-_TAIL:])
            raise BadSheet("the file cannot be read: reading it failed, or took too much memory or time")
        outcome = msgspec.json.decode(done.stdout, type=Outcome)
        if outcome.mistake:
            raise BadSheet(f"'{job.name}': {outcome.mistake}")
        return outcome


def _environment() -> dict[str, str]:
    """The environment of the worker: this package is found where it is found here."""
    paths = [str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    needed = {name: os.environ[name] for name in _NEEDED if name in os.environ}
    # openpyxl imports numpy where there is one, and its threads reserve memory for each core of the machine.
    threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
    return {**needed, **threads, "PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": "ignore"}
