"""The worker processes of a server that was started with `--workers`."""

import contextlib
import time
from pathlib import Path

from servers import KEY


def with_key(instrument):
    return {**instrument.environment, "QSERVER_HTTP_SERVER_SINGLE_USER_API_KEY": KEY}


def workers_of(server):
    """The process ids of the workers."""
    found = set()
    for number in Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split():
        with contextlib.suppress(OSError):
            if "spawn_main" in Path(f"/proc/{number}/cmdline").read_text():
                found.add(int(number))
    return found


def until(is_so, timeout_s=25):
    end = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)
