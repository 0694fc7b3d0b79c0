"""A burst of logins, and what other callers feel of it: `python benchmarks/logins.py [logins] [seconds]`.

A real RE Manager, a server process with argon2id at the shipped cost, a process that logs in at an even rate (then all
at once), and one that reads `/api/status` all the time.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from sanic_qserver.auth.providers.passwords import build_hasher
from sanic_qserver.config.logins import PasswordsConfig
from sanic_qserver.demo import Instrument, free_port

CONFIG = """
[auth]
secret_keys = ["a-key-of-the-benchmark-0123456789"]
[auth.attempts]
free = 100000
free_by_address = 100000
free_by_account = 100000
[[auth.providers]]
kind = "dictionary"
name = "toy"
[auth.providers.users]
bob = "{hash}"
[policy.access.users.bob]
roles = ["user"]
"""


async def main(logins: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder, Instrument(Path(folder)) as instrument:
        config = Path(folder) / "config.toml"
        config.write_text(CONFIG.format(hash=build_hasher(PasswordsConfig()).hash("builder")))
        port = free_port()
        command = [sys.executable, "-m", "sanic_qserver", "serve", "--config", str(config), "--port", str(port)]
        server = subprocess.Popen(
            command, env={**os.environ, **instrument.environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            limits = httpx.Limits(max_connections=None)
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60, limits=limits) as client:
                await _until_up(client)
                print("idle:       ", _summary(await _read_status(client, 5)))
                for name, pause_s in (("even rate:  ", seconds / logins), ("all at once:", 0.0)):
                    await _burst(client, name, logins, pause_s)
        finally:
            server.terminate()
            server.wait(10)


async def _burst(client: httpx.AsyncClient, name: str, logins: int, pause_s: float) -> None:
    done = asyncio.Event()
    reading = asyncio.ensure_future(_read_status(client, 3600, done))
    command = [sys.executable, __file__, "burst", str(client.base_url), str(logins), str(pause_s)]
    burst = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    counted, _ = await burst.communicate()
    done.set()
    print(f"{name} {counted.decode().strip()}; /api/status meanwhile {_summary(await reading)}")


async def burst(url: str, logins: int, pause_s: float) -> None:
    """Log in, in a process of its own: what this client takes of the processor is not the reader's."""
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=httpx.Limits(max_connections=None)) as client:
        start, tasks = time.perf_counter(), []
        for number in range(logins):
            tasks.append(asyncio.ensure_future(_log_in(client)))
            await asyncio.sleep(max(0.0, start + number * pause_s - time.perf_counter()))
        codes = await asyncio.gather(*tasks)
    counted = {code: codes.count(code) for code in sorted(set(codes))}
    print(f"{logins} logins in {time.perf_counter() - start:.1f} s: {counted}")


async def _log_in(client: httpx.AsyncClient) -> int:
    form = {"username": "bob", "password": "builder"}
    response = await client.post("/api/auth/provider/toy/token", data=form)
    assert response.status_code == 200 or response.headers["Retry-After"]
    return response.status_code


async def _read_status(client: httpx.AsyncClient, seconds: float, done: asyncio.Event | None = None) -> list[float]:
    times, until = [], time.perf_counter() + seconds
    while time.perf_counter() < until and not (done and done.is_set()):
        start = time.perf_counter()
        assert (await client.get("/api/status")).status_code == 200
        times.append(time.perf_counter() - start)
        await asyncio.sleep(0.02)
    return times


def _summary(times: list[float]) -> str:
    p99 = statistics.quantiles(times, n=100)[98]
    return f"p50 {statistics.median(times) * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms ({len(times)} reads)"


async def _until_up(client: httpx.AsyncClient) -> None:
    for _ in range(300):
        try:
            if (await client.get("/readyz")).status_code == 200:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.1)
    raise SystemExit("the server does not come up")


if __name__ == "__main__" and sys.argv[1:2] == ["burst"]:
    asyncio.run(burst(sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
elif __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000, float(sys.argv[2]) if len(sys.argv) > 2 else 60))
