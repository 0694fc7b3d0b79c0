"""TCP ports for the servers of tests. Test processes that run side by side never get the same one.

A port that the kernel chose may be taken again, by anybody's connection, before the server listens. So each process
takes a block of ports below those that the kernel gives away, and holds it by a lock on a file for as long as it lives.
"""

import fcntl
import functools
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sanic_qserver.demo import is_taken

FIRST, BLOCK_SIZE, BLOCK_COUNT = 12_000, 200, 100


@functools.cache
def _ports() -> Iterator[int]:
    """The ports of this process, round and round."""
    folder = Path(tempfile.gettempdir()) / "sanic-qserver-test-ports"
    folder.mkdir(exist_ok=True)
    for number in range(BLOCK_COUNT):
        lock = (folder / str(number)).open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        first = FIRST + number * BLOCK_SIZE
        return _cycle(range(first, first + BLOCK_SIZE), lock)
    raise RuntimeError(f"{BLOCK_COUNT} test processes run already")


def _cycle(ports: range, lock: object) -> Iterator[int]:
    """Endless, and keeps the lock open."""
    for port in itertools.cycle(ports):
        assert lock
        yield port


def free_port() -> int:
    """A port on loopback that nobody uses now, and that no other test process is given."""
    return next(port for port in itertools.islice(_ports(), BLOCK_SIZE) if not is_taken("127.0.0.1", port))
