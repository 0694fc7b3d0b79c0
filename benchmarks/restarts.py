"""How soon this server answers again after a restart of RE Manager, and what an outage costs it.

Run: python benchmarks/restarts.py [--rounds 50] [--clients 200] [--outage 20] [--json FILE]

A restart: RE Manager is ended and started again while one client asks for the status, again as soon as it is answered.
Measured is the time from RE Manager's listening socket (seen in /proc/net/tcp: nothing connects to find out) to the
end of the first successful call. An outage: RE Manager is away while clients ask again and again without a pause;
measured are `/healthz` and `/readyz`, and the memory before and at the end.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from servers import Server, ours

from sanic_qserver.demo import Instrument

_LISTENS = "0A"  # The kernel's number for the state LISTEN.


def listens(port: int) -> bool:
    """Whether somebody listens on this port of this machine."""
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return any(row[3] == _LISTENS and int(row[1].rpartition(":")[2], 16) == port for row in rows)


async def until_listening(port: int) -> float:
    """When it began to listen."""
    while not listens(port):
        await asyncio.sleep(0.002)
    return time.monotonic()


async def until_success(client: httpx.AsyncClient, statuses: list[int]) -> float:
    """When the first call succeeded that was not answered before RE Manager went."""
    while True:
        reply = await client.get("/api/status")
        if reply.status_code == 200:
            return time.monotonic()
        statuses.append(reply.status_code)


async def restart(client: httpx.AsyncClient, instrument: Instrument) -> tuple[float, int]:
    """Seconds from listening to the first success, and calls that were refused while it was away."""
    assert instrument.manager is not None
    await asyncio.to_thread(instrument.manager.stop)
    starting = asyncio.create_task(asyncio.to_thread(instrument.start_manager))
    statuses: list[int] = []
    succeeded = asyncio.create_task(until_success(client, statuses))
    listened_at = await until_listening(instrument.control_port)
    took_s = await succeeded - listened_at
    await starting
    return took_s, len(statuses)


async def retry(server: Server, until: float, statuses: dict[int, int]) -> None:
    """Ask again and again. A plain socket: 200 real clients would need the processor that is measured."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = "".join(f"{name}: {value}\r\n" for name, value in server.headers.items())
    request = f"GET /api/queue/item/get?uid=none HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}\r\n".encode()
    while time.monotonic() < until:
        writer.write(request)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.split(b":")[1]))
        status = int(answer.split()[1])
        statuses[status] = statuses.get(status, 0) + 1
    writer.close()


async def outage(server: Server, instrument: Instrument, clients: int, seconds: float) -> dict[str, Any]:
    """What RE Manager's absence costs."""
    assert instrument.manager is not None
    await asyncio.to_thread(instrument.manager.stop)
    statuses: dict[int, int] = {}
    health_ms: list[float] = []
    sizes: list[float] = []
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=30) as client:
        until = time.monotonic() + seconds
        tasks = [asyncio.create_task(retry(server, until, statuses)) for _ in range(clients)]
        while time.monotonic() < until:
            for path in ("/healthz", "/readyz"):
                began = time.perf_counter()
                await client.get(path)
                health_ms.append(1000 * (time.perf_counter() - began))
            sizes.append(server.rss_mb)
            await asyncio.sleep(0.25)
        await asyncio.gather(*tasks)
    await asyncio.to_thread(instrument.start_manager)
    quarter = len(sizes) // 4
    return {
        "clients": clients,
        "seconds": seconds,
        "answers": statuses,
        "health_median_ms": round(statistics.median(health_ms), 1),
        "health_max_ms": round(max(health_ms), 1),
        "memory_mb": {"first quarter": round(max(sizes[:quarter]), 1), "last quarter": round(max(sizes[-quarter:]), 1)},
    }


async def measure(rounds: int, clients: int, seconds: float) -> dict[str, Any]:
    """Both figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Instrument(folder / "instrument") as instrument, ours(folder, instrument) as server:
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{server.port}", headers=server.headers, timeout=30
            ) as client:
                taken = []
                for number in range(rounds):
                    took_s, refused = await restart(client, instrument)
                    taken.append(took_s)
                    print(f"{number + 1}: {1000 * took_s:.0f} ms after {refused} refused calls", flush=True)
            away = await outage(server, instrument, clients, seconds)
    taken.sort()
    return {
        "restarts": rounds,
        "median_ms": round(1000 * statistics.median(taken)),
        "p95_ms": round(1000 * taken[min(rounds - 1, int(0.95 * rounds))]),
        "max_ms": round(1000 * taken[-1]),
        "outage": away,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--outage", type=float, default=20.0, metavar="SECONDS")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    result = asyncio.run(measure(given.rounds, given.clients, given.outage))
    print(json.dumps(result, indent=2))
    if given.json:
        given.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
