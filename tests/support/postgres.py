"""A PostgreSQL of the tests' own."""

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


def _program(name):
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


def _as_postgres():
    """PostgreSQL does not run as root."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("postgres")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@pytest.fixture(scope="module")
def cluster():
    """A PostgreSQL of its own. Its address without the name of a database."""
    if _program("initdb") is None:
        assert not os.environ.get("REQUIRE_ALL_TESTS"), "PostgreSQL is not installed"
        pytest.skip("PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp(prefix="postgres"))  # Not pytest's: that removes its own when others run beside it.
    identity = _as_postgres()
    if identity:
        os.chown(folder, identity["user"], identity["group"])
    data, port = folder / "data", free_port()
    options = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **identity}
    make = [_program("initdb"), "-D", data, "-A", "trust", "-U", "qserver", "--no-sync"]
    subprocess.run(make, check=True, **options)
    command = [_program("postgres"), "-D", data, "-p", str(port), "-k", folder, "-h", "127.0.0.1", "-F"]
    with subprocess.Popen(command, **options) as process:
        _wait_for(port)
        yield f"postgresql://qserver@127.0.0.1:{port}"
        process.send_signal(signal.SIGINT)
    shutil.rmtree(folder)


def _wait_for(port):
    for _ in range(400):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        time.sleep(0.05)
    raise AssertionError("PostgreSQL does not answer")


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
