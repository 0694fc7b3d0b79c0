"""10,000 rows of a spreadsheet, parsed, validated and queued in one request; and what others notice meanwhile.

Run: python benchmarks/spreadsheet.py [ROWS]. It starts its own Redis, RE Manager and server.
"""

import asyncio
import contextlib
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import openpyxl

from sanic_qserver.demo import Instrument, free_port

KEY = "benchmark"


def sheet(row_count: int) -> bytes:
    """A workbook of plans `count`."""
    book = openpyxl.Workbook(write_only=True)
    page = book.create_sheet("Plans")
    page.append(["plan", "args", "num", "delay"])
    for number in range(row_count):
        page.append(["count", "['det1', 'det2']", 1 + number % 10, 0.1])
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


async def watched(client: httpx.AsyncClient, path: str, pause_s: float) -> tuple[asyncio.Task[None], list[float]]:
    """Ask for a path over and over; the list fills with the times it took."""
    times: list[float] = []

    async def ask() -> None:
        while True:
            started = time.perf_counter()
            await client.get(path)
            times.append(time.perf_counter() - started)
            await asyncio.sleep(pause_s)

    return asyncio.ensure_future(ask()), times


def line(name: str, times: list[float]) -> str:
    ordered = sorted(times)
    p99 = ordered[int(len(ordered) * 0.99)]
    return (
        f"{name:34} n={len(times):5}  median {statistics.median(times) * 1000:7.1f} ms"
        f"  p99 {p99 * 1000:7.1f}  max {ordered[-1] * 1000:7.1f}"
    )


async def measure(url: str, body: bytes, row_count: int) -> None:
    headers = {"Authorization": f"ApiKey {KEY}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=600) as client:
        for _ in range(300):
            with contextlib.suppress(httpx.TransportError):
                if (await client.get("/readyz")).status_code == 200:
                    break
            await asyncio.sleep(0.1)
        for name, fields in (("dry run", {"dry_run": "true"}), ("queued", {})):
            alive, alive_times = await watched(client, "/healthz", 0.005)
            status, status_times = await watched(client, "/api/status", 0.05)
            started = time.perf_counter()
            reply = await client.post(
                "/api/queue/upload/spreadsheet", files={"spreadsheet": ("plans.xlsx", body)}, data=fields
            )
            took_s = time.perf_counter() - started
            alive.cancel()
            status.cancel()
            answer = reply.json()
            assert answer["success"], answer["msg"]
            assert len(answer["rows"]) == row_count
            print(f"{name}: {row_count} rows in {took_s:.2f} s, {row_count / took_s:.0f} rows/s")
            print("  " + line("/healthz meanwhile (the loop's lag)", alive_times))
            print("  " + line("/api/status meanwhile", status_times))


def main() -> None:
    row_count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    body = sheet(row_count)
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, Instrument(Path(folder)) as instrument:
        environment = {**os.environ, **instrument.environment, "QSERVER_HTTP_SERVER_SINGLE_USER_API_KEY": KEY}
        command = [sys.executable, "-m", "sanic_qserver", "serve", "--port", str(port)]
        server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            print(f"file: {len(body) / 1000:.0f} kB; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
            asyncio.run(measure(f"http://127.0.0.1:{port}", body, row_count))
        finally:
            server.terminate()
            server.wait(20)


if __name__ == "__main__":
    main()
