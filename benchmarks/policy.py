"""What the gate costs: `python benchmarks/policy.py` prints microseconds a request, and the share of a whole request.

Measured in-process with a request as Sanic makes it: a known API key, the scope checked, and two rate rules counted in
memory; with 10,000 people and 1,000 rules loaded as well. The whole request is measured over HTTP, 16 connections
against one server process, on an endpoint that does not ask RE Manager: the least that a request can cost.
"""

import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

from sanic_qserver.api.table import ENDPOINTS
from sanic_qserver.app import create_app
from sanic_qserver.config.settings import load
from sanic_qserver.demo import free_port, is_taken
from sanic_qserver.http.gate import Gate

KEY = "the-key-of-the-benchmark"
ROUNDS, CALLS = 7, 20_000
TWO_RULES = "rates:\n  - {name: first, limits: 100000000/second}\n  - {name: second, limits: 100000000/minute}\n"


def gate_of(folder: Path, people: int = 0, rules: int = 0) -> Gate:
    """The gate of an application with two rules that count, and so many people and rules beside."""
    names = "".join(f"  user{n}: {{roles: [user], displayed_name: User {n}}}\n" for n in range(people))
    (folder / "permissions.yaml").write_text("users:\n" + names if names else "users: {}\n")
    others = "".join(f"  - {{name: r{n}, limits: 5/second, users: user{n}}}\n" for n in range(rules))
    (folder / "rate_limits.yaml").write_text(TWO_RULES + others)
    policy = {name: str(folder / f"{name}.yaml") for name in ("permissions", "rate_limits")}
    sections = {"policy": policy, "auth": {"single_user_api_key": KEY}}
    started = time.perf_counter()
    gate: Gate = create_app(load(environment={}, overrides=sections), name=f"gate_{people}").ctx.gate
    if people:
        print(f"{people} people and {rules} rules load, with the whole application, in "
              f"{time.perf_counter() - started:.2f} s")  # fmt: skip
    return gate


def request() -> SimpleNamespace:
    """What the gate looks at."""
    headers = {"authorization": f"ApiKey {KEY}"}
    return SimpleNamespace(
        headers=headers,
        query_string="",
        client_ip="127.0.0.1",
        ip="127.0.0.1",
        cookies={},
        method="GET",
        ctx=SimpleNamespace(),
    )


async def gate_us(gate: Gate) -> tuple[float, float]:
    """Microseconds of one admission: the best and the median round."""
    row = next(row for row in ENDPOINTS if row.path == "/status")
    asked = request()
    rounds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(CALLS):
            await gate.admit(asked, row)  # type: ignore[arg-type]
        rounds.append((time.perf_counter() - started) / CALLS * 1e6)
    return min(rounds), statistics.median(rounds)


@contextlib.contextmanager
def server(folder: Path):
    """A server process with the two rules, without an RE Manager."""
    (folder / "config.toml").write_text(
        f'[policy]\nrate_limits = "rate_limits.yaml"\n[auth]\nsingle_user_api_key = "{KEY}"\n'
    )
    (folder / "rate_limits.yaml").write_text(TWO_RULES)
    port = free_port()
    command = [sys.executable, "-m", "sanic_qserver", "serve", "-c", str(folder / "config.toml"), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
    try:
        while not is_taken("127.0.0.1", port):
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait()


async def request_us(port: int, seconds: float = 3.0, connections: int = 16) -> float:
    """Microseconds of a whole request at saturation."""
    text = f"GET /api/console_output/uid HTTP/1.1\r\nHost: x\r\nAuthorization: ApiKey {KEY}\r\n\r\n".encode()
    until = time.perf_counter() + seconds
    counts = [0] * connections

    async def keep_asking(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < until:
            writer.write(text)
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in head, head
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            counts[number] += 1
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*map(keep_asking, range(connections)))
    return (time.perf_counter() - started) / sum(counts) * 1e6


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        best, median = asyncio.run(gate_us(gate_of(folder)))
        large = asyncio.run(gate_us(gate_of(folder, 10_000, 1_000)))
        with server(folder) as port:
            asyncio.run(request_us(port, 1.0))
            whole = asyncio.run(request_us(port))
    print(f"gate, two rules                      {best:6.1f} us best, {median:6.1f} us median")
    print(f"gate, 10,000 people and 1,000 rules  {large[0]:6.1f} us best, {large[1]:6.1f} us median")
    print(f"whole request                        {whole:6.1f} us ({1e6 / whole:.0f} a second): "
          f"the gate is {100 * best / whole:.0f} % of it")  # fmt: skip


if __name__ == "__main__":
    main()
