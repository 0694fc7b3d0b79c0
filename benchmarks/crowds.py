"""The same crowd again and again: does it leave memory where it was?

Run: python benchmarks/crowds.py [--rounds 3] [--watchers 300] [--adders 8] [--seconds 12]

A crowd: watchers of all events (half over websockets, half over server-sent events), and people who add items. In the
middle RE Manager is stopped for some seconds, and a third of the watchers leave and come back with the last id. Then
everybody leaves, the queue and history are cleared, and the server's memory is read once what they left was collected.
The first crowd is a warm-up: code is imported, and allocators take what they keep.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import tempfile
import time
from pathlib import Path

import httpx
from servers import Server, ours

from sanic_qserver.demo import Instrument
from sanic_qserver.http.stream.memory import TRIM_AFTER_S

ITEM = {"item_type": "plan", "name": "count", "args": [["det1"]]}
_UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


async def watch(server: Server, number: int, until: float) -> int:
    """Follow everything; every third leaves and comes back. Returns the bytes that came."""
    count = 0
    while (now := time.monotonic()) < until:
        leave_at = min(until, now + 3 + number % 5) if number % 3 == 0 else until
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = "".join(f"{name}: {value}\r\n" for name, value in server.headers.items())
        kind = _UPGRADE if number % 2 else "Accept: text/event-stream\r\n"
        writer.write(f"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n{head}{kind}\r\n".encode())
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout_at(leave_at - time.monotonic() + asyncio.get_running_loop().time()):
                while data := await reader.read(65_536):
                    count += len(data)
        writer.close()
    return count


async def add(server: Server, until: float) -> int:
    """Add items, one after the other. Returns how many were added."""
    count = 0
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{server.port}", headers=server.headers, timeout=30
    ) as client:
        while time.monotonic() < until:
            reply = await client.post("/api/queue/item/add", json={"item": ITEM})
            count += reply.status_code == 200
            await asyncio.sleep(0.02)
    return count


async def crowd(server: Server, instrument: Instrument, watchers: int, adders: int, seconds: float) -> tuple[int, int]:
    """One crowd, from its coming to its leaving."""
    until = time.monotonic() + seconds
    watching = [asyncio.create_task(watch(server, number, until)) for number in range(watchers)]
    adding = [asyncio.create_task(add(server, until)) for _ in range(adders)]
    await asyncio.sleep(seconds / 2)
    assert instrument.manager is not None
    instrument.manager.signal(signal.SIGSTOP)
    await asyncio.sleep(seconds / 4)
    instrument.manager.signal(signal.SIGCONT)
    return sum(await asyncio.gather(*watching)), sum(await asyncio.gather(*adding))


async def clear(server: Server) -> None:
    """Empty the queue and the history."""
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{server.port}", headers=server.headers, timeout=60
    ) as client:
        for path in ("/api/queue/clear", "/api/history/clear"):
            while (await client.post(path)).status_code != 200:
                await asyncio.sleep(0.2)


async def measure(args: argparse.Namespace) -> dict[str, object]:
    """The memory after each crowd."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = "[live]\nkept_events = 200\n[console]\nmax_messages = 200\n"  # So that the warm-up fills the logs.
        with Instrument(folder / "instrument") as instrument, ours(folder, instrument, settings=settings) as server:
            sizes = [server.rss_mb]
            for number in range(args.rounds + 1):
                came, added = await crowd(server, instrument, args.watchers, args.adders, args.seconds)
                most = server.rss_mb
                await clear(server)
                await asyncio.sleep(TRIM_AFTER_S + 5)
                sizes.append(server.rss_mb)
                print(f"crowd {number}: {came / 1e6:.1f} MB to watchers, {added} items; "
                      f"{most:.1f} MB at its end, {sizes[-1]:.1f} MB after it", flush=True)  # fmt: skip
    return {"watchers": args.watchers, "at start, MB": sizes[0], "after each crowd, MB": sizes[1:]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--watchers", type=int, default=300)
    parser.add_argument("--adders", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=12.0)
    print(json.dumps(asyncio.run(measure(parser.parse_args())), indent=2))


if __name__ == "__main__":
    main()
