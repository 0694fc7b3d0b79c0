"""What 500 hostile connections without a credential cost: the server's memory, and how long others wait.

Run: python benchmarks/hostile.py [--connections 500] [--seconds 15] [--attacks NAME,...] [--json FILE]

Each attack holds so many connections and makes a new one for each that is cut off. Beside it one caller with a key asks
for the status a hundred times a second. Measured: resident memory at its highest, and the caller's p50 and p99.
The attackers run on the same machine: with few cores they take time from the server.
"""

import argparse
import asyncio
import itertools
import json
import multiprocessing
import resource
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from servers import KEY, ours

from sanic_qserver.demo import Instrument

PAGE = b"GET /docs/assets/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n"
LOGIN = b"POST /api/auth/session/refresh HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
SOCKET = (
    b"GET /api/status/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
Pieces = AsyncIterator[bytes]


async def head_that_drips() -> Pieces:
    """A head of 8 kB, little by little."""
    yield b"GET /api/status HTTP/1.1\r\nHost: x\r\n"
    for number in itertools.count():
        await asyncio.sleep(0.2)
        yield b"X-%d: a\r\n" % number


async def body_unfinished() -> Pieces:
    """Nearly all of a body that a public row takes."""
    yield LOGIN + b"Content-Length: 60000\r\n\r\n" + b'{"refresh_token": "' + b"a" * 59_000
    await asyncio.sleep(3600)


async def body_too_large() -> Pieces:
    """20 MB to a row that needs a credential."""
    yield b"POST /api/queue/item/add HTTP/1.1\r\nHost: x\r\nContent-Length: 20000000\r\n\r\n"
    for _ in range(400):
        yield b" " * 50_000
    await asyncio.sleep(3600)


async def body_of_tiny_chunks() -> Pieces:
    """A body of one byte a chunk, to a row that takes a stream."""
    yield b"POST /api/queue/item/add/stream HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    while True:
        yield b"1\r\na\r\n" * 2000
        await asyncio.sleep(0.2)


async def upgrade_without_end() -> Pieces:
    """`Upgrade: websocket`, and a body that never comes."""
    yield LOGIN + b"Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 5\r\n\r\n"
    await asyncio.sleep(3600)


async def answers_unread() -> Pieces:
    """One large answer after the other, and nothing is read."""
    yield PAGE * 20
    await asyncio.sleep(3600)


async def requests_pipelined() -> Pieces:
    """Nearly as many requests as may wait, and nothing is read."""
    yield PAGE * (60_000 // len(PAGE))
    await asyncio.sleep(3600)


async def requests_flooding() -> Pieces:
    """More requests than may wait."""
    while True:
        yield PAGE * 1000


async def websockets_silent() -> Pieces:
    """A websocket that says nothing about who it is, and pings without reading."""
    yield SOCKET
    while True:
        yield b"\x89\xfd\x00\x00\x00\x00" + b"a" * 125
        await asyncio.sleep(0.05)


ATTACKS: dict[str, Callable[[], Pieces]] = {
    attack.__name__: attack
    for attack in (head_that_drips, body_unfinished, body_too_large, body_of_tiny_chunks, upgrade_without_end,
                   answers_unread, requests_pipelined, requests_flooding, websockets_silent)
}  # fmt: skip


class Blind(asyncio.Protocol):
    """A client that never reads."""

    def connection_made(self, transport: Any) -> None:
        """Stop to read at once."""
        self.transport = transport
        self.room, self.gone = asyncio.Event(), asyncio.Event()
        self.room.set()
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        transport.pause_reading()

    def pause_writing(self) -> None:
        """The server takes nothing more."""
        self.room.clear()

    def resume_writing(self) -> None:
        """It does again."""
        self.room.set()

    def connection_lost(self, _: Exception | None) -> None:
        """Cut off."""
        self.gone.set()
        self.room.set()


async def hold(port: int, attack: Callable[[], Pieces], until: float) -> int:
    """Keep one connection under attack. Returns how often it was cut off."""
    loop, cuts = asyncio.get_running_loop(), 0
    while time.monotonic() < until:
        try:
            transport, blind = await loop.create_connection(Blind, "127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.2)
            continue
        sending = asyncio.create_task(feed(transport, blind, attack()))
        gone = asyncio.create_task(blind.gone.wait())
        await asyncio.wait((sending, gone), timeout=until - time.monotonic(), return_when=asyncio.FIRST_COMPLETED)
        sending.cancel()
        gone.cancel()
        transport.abort()
        cuts += 1
        await asyncio.sleep(0.1)
    return cuts


async def feed(transport: Any, blind: Blind, pieces: Pieces) -> None:
    """Send the pieces as fast as they are taken."""
    async for piece in pieces:
        transport.write(piece)
        await blind.room.wait()
        if blind.gone.is_set():
            return
        await asyncio.sleep(0)


def attackers(port: int, name: str, count: int, seconds: float, results: Any) -> None:
    """The process of the attackers."""

    async def run() -> int:
        until = time.monotonic() + seconds
        return sum(await asyncio.gather(*(hold(port, ATTACKS[name], until) for _ in range(count))))

    allow_files()
    results.put(asyncio.run(run()))


def callers(port: int, seconds: float, results: Any) -> None:
    """The process of the one who asks for the status, and how long each answer took."""

    async def run() -> list[float]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        took, until = [], time.monotonic() + seconds
        while time.monotonic() < until:
            began = time.perf_counter()
            writer.write(f"GET /api/status HTTP/1.1\r\nHost: x\r\nAuthorization: ApiKey {KEY}\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            await reader.readexactly(int(head.partition("content-length: ")[2].split()[0]))
            took.append(1000 * (time.perf_counter() - began))
            assert head.startswith("http/1.1 200"), head
            await asyncio.sleep(0.01)
        return sorted(took)

    results.put(asyncio.run(run()))


def allow_files() -> None:
    """As many open connections as the system allows."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(65_536, most), most))


def measure(server: Any, name: str, count: int, seconds: float) -> dict[str, Any]:
    """One attack. Returns a row of the table."""
    context = multiprocessing.get_context("spawn")
    cut, asked, idle_mb = context.Queue(), context.Queue(), server.rss_mb
    processes = [
        context.Process(target=attackers, args=(server.port, name, count, seconds, cut)),
        context.Process(target=callers, args=(server.port, seconds, asked)),
    ]
    for process in processes:
        process.start()
    most_mb = 0.0
    while asked.empty() or cut.empty():
        most_mb = max(most_mb, server.rss_mb)
        time.sleep(0.05)
        assert all(process.exitcode in (None, 0) for process in processes), "an attacker or the caller failed"
    took = asked.get()
    row = {
        "attack": name,
        "connections": count,
        "cut off": cut.get(),
        "idle MB": round(idle_mb),
        "most MB": round(most_mb),
        "asked": len(took),
        "p50 ms": round(took[len(took) // 2], 1),
        "p99 ms": round(took[int(len(took) * 0.99)], 1),
    }
    for process in processes:
        process.join()
    return row


def main() -> None:
    """Run, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--connections", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--attacks", default=",".join(ATTACKS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    allow_files()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, Instrument(Path(folder) / "instrument") as instrument:
        for name in options.attacks.split(","):
            with ours(Path(folder), instrument) as server:  # A new one each: memory once taken is seldom given back.
                rows.append(measure(server, name, options.connections, options.seconds))
            if len(rows) == 1:
                print("| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
            print("| " + " | ".join(map(str, rows[-1].values())) + " |", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
