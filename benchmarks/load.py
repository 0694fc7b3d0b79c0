"""Load: wrk for what repeats, asyncio for what mixes, a plain 0MQ client for RE Manager itself."""

import asyncio
import contextlib
import json
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zmq
from servers import Server

PLAN = {"name": "count", "args": [["det1", "det2"]], "item_type": "plan"}
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


@dataclass
class Load:
    """What came of it. Rates a second, latencies in ms, processor time in µs a request."""

    rate: float
    latencies_ms: dict[str, float] = field(default_factory=dict)
    errors: int = 0
    cpu_us: float = 0.0


def wrk(
    server: Server,
    path: str,
    connections: int,
    seconds: float,
    *,
    body: Any = None,
    headers: dict[str, str] | None = None,
) -> Load:
    """Send the same request again and again over keep-alive connections."""
    sent = {**server.headers, **(headers or {})}
    with tempfile.TemporaryDirectory() as folder:
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", "--timeout", "30s"]
        if seconds != int(seconds):
            command[3] = f"-d{max(1, round(seconds))}s"
        if body is not None:
            script = Path(folder) / "post.lua"
            script.write_text(f'wrk.method = "POST"\nwrk.body = {json.dumps(json.dumps(body))}\n')
            sent["Content-Type"] = "application/json"
            command += ["-s", str(script)]
        for name, value in sent.items():
            command += ["-H", f"{name}: {value}"]
        before = server.cpu_s
        text = subprocess.run(
            [*command, f"http://127.0.0.1:{server.port}{path}"], capture_output=True, text=True, check=True
        ).stdout
        used = server.cpu_s - before
    return _read(text, used)


def _read(text: str, used_s: float) -> Load:
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])  # type: ignore[index]
    count = int(re.search(r"(\d+) requests in", text)[1])  # type: ignore[index]
    latencies = {
        f"p{share}": float(value) * _UNITS[unit]
        for share, value, unit in re.findall(r"^\s+(50|75|90|99)%\s+([\d.]+)(us|ms|s|m)$", text, re.MULTILINE)
    }
    bad = sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", text)))
    bad += sum(int(number) for line in re.findall(r"Socket errors:(.*)", text) for number in re.findall(r"\d+", line))
    return Load(rate, latencies, bad, used_s / max(count, 1) * 1e6)


def needs_wrk() -> None:
    """Say how to get the load generator."""
    if shutil.which("wrk") is None:
        raise SystemExit("The load generator is missing: apt-get install wrk")


class Raw:
    """RE Manager's own clients: a plain REQ socket, one call after the other."""

    def __init__(self, address: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.REQ)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.connect(address)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One call."""
        self._socket.send_json({"method": method, "params": params})
        if not self._socket.poll(60_000):
            raise SystemExit(f"RE Manager did not answer {method}")
        answer: dict[str, Any] = self._socket.recv_json()
        return answer

    def fill(self, count: int) -> None:
        """An empty queue, then so many items."""
        self.call("queue_clear")
        for start in range(0, count, 500):
            items = [PLAN] * min(500, count - start)
            answer = self.call("queue_item_add_batch", items=items, user="benchmark", user_group="primary")
            assert answer["success"], answer

    def adds_per_s(self, batch: int, seconds: float) -> float:
        """RE Manager's own rate of additions, in batches, lock-step."""
        self.call("queue_clear")
        started, count = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            self.call("queue_item_add_batch", items=[PLAN] * batch, user="benchmark", user_group="primary")
            count += batch
        return count / (time.perf_counter() - started)

    def status_ms(self, count: int) -> float:
        """Median time of a status call."""
        times = []
        for _ in range(count):
            started = time.perf_counter()
            self.call("status")
            times.append(time.perf_counter() - started)
        return statistics.median(times) * 1000

    def close(self) -> None:
        """Let go of the sockets."""
        self._socket.close(0)
        self._context.term()


class Connection:
    """One keep-alive HTTP connection, with as little of its own as possible."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __aenter__(self) -> "Connection":
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._server.port, limit=2**26)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def ask(self, verb: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the answer."""
        lines = [f"{verb} {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in {**self._server.headers, **headers}.items()]
        if body:
            lines.append("Content-Type: application/json")
        self._writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        answer = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
        length = int(answer.get("content-length", 0))
        return int(head[0].split()[1]), answer, await self._reader.readexactly(length) if length else b""


async def mixed(server: Server, seconds: float, submitters: int = 8, watchers: int = 100) -> tuple[Load, Load]:
    """Submitters at full speed, and watchers who poll the status once a second, each tenth the queue too.

    The first submitter clears the queue now and then, so that it keeps a usual size. Returns reads and adds.
    """
    until = time.perf_counter() + seconds
    reads: list[float] = []
    adds: list[float] = []
    errors = [0]
    body = json.dumps({"item": PLAN}).encode()

    async def timed(connection: Connection, into: list[float], *request: Any) -> None:
        started = time.perf_counter()
        status, _, _ = await connection.ask(*request)
        into.append((time.perf_counter() - started) * 1000)
        errors[0] += status != 200

    async def submit(number: int) -> None:
        async with Connection(server) as connection:
            while time.perf_counter() < until:
                await timed(connection, adds, "POST", "/api/queue/item/add", body)
                if number == 0 and len(adds) % 500 < submitters:
                    await connection.ask("POST", "/api/queue/clear")

    async def watch(number: int) -> None:
        await asyncio.sleep(number / watchers)
        async with Connection(server) as connection:
            while time.perf_counter() < until:
                started = time.perf_counter()
                await timed(connection, reads, "GET", "/api/status")
                if number % 10 == 0:
                    await timed(connection, reads, "GET", "/api/queue/get?limit=20")
                await asyncio.sleep(max(0.0, 1 - (time.perf_counter() - started)))

    before = server.cpu_s
    await asyncio.gather(
        *(submit(number) for number in range(submitters)), *(watch(number) for number in range(watchers))
    )
    used = (server.cpu_s - before) / max(len(reads) + len(adds), 1) * 1e6
    return _load(reads, seconds, errors[0], used), _load(adds, seconds, 0, used)


def _load(times_ms: list[float], seconds: float, errors: int, cpu_us: float) -> Load:
    times_ms = sorted(times_ms) or [0.0]
    latencies = {f"p{share}": times_ms[min(len(times_ms) - 1, len(times_ms) * share // 100)] for share in (50, 90, 99)}
    return Load(len(times_ms) / seconds, latencies, errors, cpu_us)


async def stream(server: Server, count: int) -> float:
    """Items a second over `POST /queue/item/add/stream`."""
    line = json.dumps(PLAN).encode() + b"\n"
    async with Connection(server) as connection:
        writer, reader = connection._writer, connection._reader
        head = "".join(f"{name}: {value}\r\n" for name, value in server.headers.items())
        path = "/api/queue/item/add/stream?results=failed"
        writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\n{head}Content-Length: {len(line) * count}\r\n\r\n".encode())
        started = time.perf_counter()
        for start in range(0, count, 500):
            writer.write(line * min(500, count - start))
            await writer.drain()
        text = b""
        while b'"done":' not in text:
            text = text[-200:] + await reader.read(65536)
        taken_s = time.perf_counter() - started
    added = int(re.search(rb'"added":(\d+)', text)[1])  # type: ignore[index]
    assert added == count, text
    return count / taken_s
