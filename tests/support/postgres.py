"""A PostgreSQL of one's own, for tests and benchmarks: it can be killed, stopped and started again."""

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from ports import free_port


def find_program(name):
    """A program of PostgreSQL; None when it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


def _as_postgres():
    """PostgreSQL does not run as root."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("postgres")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


class Postgres:
    """A cluster in a folder of its own. Anybody on this machine may do anything to it."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="postgres"))  # Not pytest's: that removes its own when others run.
        self.port = free_port()
        self.address = f"postgresql://qserver@127.0.0.1:{self.port}"
        self.process = None
        identity = _as_postgres()
        if identity:
            os.chown(self.folder, identity["user"], identity["group"])
        self._options = {
            "cwd": self.folder,
            "stdout": subprocess.DEVNULL,
            "stderr": subprocess.DEVNULL,
            "start_new_session": True,
            **identity,
        }
        make = [find_program("initdb"), "-D", self.folder / "data", "-A", "trust", "-U", "qserver", "--no-sync"]
        subprocess.run(make, check=True, **self._options)

    def start(self):
        """Start it, and wait until it listens."""
        where = ["-D", self.folder / "data", "-p", str(self.port), "-k", self.folder, "-h", "127.0.0.1"]
        self.process = subprocess.Popen([find_program("postgres"), *where, "-F"], **self._options)
        for _ in range(400):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2):
                return
            assert self.process.poll() is None, "PostgreSQL did not start"
            time.sleep(0.05)
        raise AssertionError("PostgreSQL does not answer")

    def signal(self, number):
        """Send a signal to all its processes: each leads a session of its own."""
        for pid in (self.process.pid, *_children(self.process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self):
        """Kill all its processes."""
        self.signal(signal.SIGKILL)
        self.process.wait()

    def remove(self):
        """End it, and remove its folder."""
        if self.process is not None:
            self.signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGINT)
            self.process.wait(30)
        shutil.rmtree(self.folder)


def _children(parent):
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, IndexError, ValueError):
            if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(folder.name))
    return found


@pytest.fixture(scope="module")
def cluster():
    """A PostgreSQL of its own. Its address without the name of a database."""
    if find_program("initdb") is None:
        assert not os.environ.get("REQUIRE_ALL_TESTS"), "PostgreSQL is not installed"
        pytest.skip("PostgreSQL is not installed")
    running = Postgres()
    try:
        running.start()
        yield running.address
    finally:
        running.remove()


@pytest.fixture
async def url(cluster):
    """A fresh database."""
    import asyncpg

    for _ in range(100):  # It listens a moment before it is ready.
        try:
            connection = await asyncpg.connect(f"{cluster}/postgres")
            break
        except asyncpg.CannotConnectNowError:
            await asyncio.sleep(0.1)
    name = f"test_{os.urandom(4).hex()}"
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    return f"{cluster}/{name}"
