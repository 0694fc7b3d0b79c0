"""A thousand watchers of the console, and what they cost: this server, and beside it the reference server.

    python benchmarks/watchers.py                                   # this server
    python benchmarks/watchers.py --replicas 2 --rate 200           # two servers that share a Redis, so many on each
    python benchmarks/watchers.py --reference /path/to/venv         # and bluesky-httpserver, installed there

Console lines come from a publisher in place of RE Manager's (which is started, and publishes nothing), so that the
server is measured and not the manager. All lines have the same size, so that a watcher can check every byte that it
gets cheaply: each watcher's checksum over all frames must be that of what was published, in order.
CPU and memory are the server process's, from /proc. Subscriptions run in a process of their own, on the same machine.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import multiprocessing
import os
import queue
import resource
import sys
import tempfile
import time
import urllib.request
import zlib
from pathlib import Path

import uvloop
import zmq
from parts import start_redis, wait_for

from sanic_qserver.demo import Instrument, Part, free_port
from sanic_qserver.http.stream.memory import TRIM_AFTER_S

KEY = "benchmark"
TEXT = "line {number:08d} " + "x" * 70 + "\n"


def payload(number, at):
    """One published message, always of the same size."""
    return (
        (f'{{"time": {at:017.6f}, "msg": ' + json.dumps(TEXT.format(number=number)) + "}")
        .encode()
        .replace(b'"time": 0', b'"time":  ')
    )  # no leading zero in a number


def publish(address, rate, duration_s, begin, sums):
    """Publish `rate` lines a second; the checksum of all frames goes to the queue `sums`."""
    socket = zmq.Context().socket(zmq.PUB)
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.bind(address)
    begin.wait()
    started, checksum, number = time.perf_counter(), 0, 0
    while number < rate * duration_s:
        due = int((time.perf_counter() - started) * rate)
        while number < min(due, rate * duration_s):
            body = payload(number, time.time())
            socket.send_multipart([b"QS_Console", body])
            checksum = zlib.crc32(frame(body), checksum)
            number += 1
        time.sleep(0.001)
    sums.put(checksum)
    time.sleep(5)


def frame(body):
    """A text frame."""
    return b"\x81" + bytes((len(body),)) + body


SIZE = len(frame(payload(0, time.time())))


class Watcher(asyncio.Protocol):
    """One websocket: checks frames by checksum, answers pings, measures the delay of some."""

    def __init__(self, path, delays=None, *, reads=True, counts_only=False):
        self.path, self.delays, self.reads, self.counts_only = path, delays, reads, counts_only
        self.buffer, self.is_open, self.lines, self.checksum, self.is_closed = b"", False, 0, 0, False

    def connection_made(self, transport):
        self.transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET {self.path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nAuthorization: ApiKey {KEY}\r\n\r\n".encode()
        )

    def data_received(self, data):
        buffer = self.buffer + data
        if not self.is_open:
            head, end, buffer = buffer.partition(b"\r\n\r\n")
            if not end:
                self.buffer = head
                return
            assert b" 101 " in head.split(b"\r\n")[0], head
            self.is_open = True
            if not self.reads:
                self.transport.pause_reading()
        self.buffer = self.count(buffer) if self.counts_only else self.check(buffer)

    def check(self, buffer):
        """Whole frames of lines at once; what is between them one by one."""
        while len(buffer) >= 2:
            count = len(buffer) // SIZE
            lines = buffer[: count * SIZE]
            if count and lines[::SIZE] == b"\x81" * count:
                self.take(lines, count)
                return buffer[count * SIZE :]
            if buffer[0] == 0x81:
                if len(buffer) < SIZE:
                    return buffer
                self.take(buffer[:SIZE], 1)
                buffer = buffer[SIZE:]
                continue
            size = 2 + (buffer[1] & 127)
            if len(buffer) < size:
                return buffer
            if buffer[0] == 0x89:
                self.transport.write(b"\x8a" + bytes((0x80 | (size - 2),)) + bytes(4) + buffer[2:size])
            buffer = buffer[size:]
        return buffer

    def take(self, lines, count):
        self.lines += count
        self.checksum = zlib.crc32(lines, self.checksum)
        if self.delays is not None:
            self.delays.append(time.time() - float(lines[-SIZE:].split(b'"time":', 1)[1].split(b",", 1)[0]))

    def count(self, buffer):
        """For a server whose frames are of its own making: any text frame is a line."""
        while len(buffer) >= 4:
            size, head = buffer[1] & 127, 2
            if size == 126:
                size, head = int.from_bytes(buffer[2:4], "big"), 4
            if len(buffer) < head + size:
                return buffer
            body = buffer[head : head + size]
            if buffer[0] == 0x81:
                self.lines += 1
                if self.delays is not None:
                    self.delays.append(time.time() - json.loads(body)["time"])
            elif buffer[0] == 0x89:
                self.transport.write(b"\x8a" + bytes((0x80 | size,)) + bytes(4) + body)
            buffer = buffer[head + size :]
        return buffer

    def connection_lost(self, _):
        self.is_closed = True


async def watch(port, count, stalled, expected, seconds, counts_only, ready, results):
    """Connect, say that all are there, read until all lines came or nothing comes any more."""
    loop = asyncio.get_running_loop()
    path = "/api/console_output/ws"
    fast = [Watcher(path, [] if n < 20 else None, counts_only=counts_only) for n in range(count - stalled)]
    slow = [Watcher(path, reads=False) for _ in range(stalled)]
    for start in range(0, count, 50):
        batch = [*fast, *slow][start : start + 50]
        await asyncio.gather(*(loop.create_connection(lambda w=w: w, "127.0.0.1", port) for w in batch))
    while not all(w.is_open for w in (*fast, *slow)):
        await asyncio.sleep(0.05)
    await asyncio.sleep(1)
    ready.put("all are there")
    until = time.monotonic() + seconds + 10
    while time.monotonic() < until and not all(w.lines >= expected for w in fast):
        await asyncio.sleep(0.1)
    delays = sorted(delay for w in fast for delay in w.delays or ())
    results.put({
        "lines": [w.lines for w in fast], "checksums": sorted({w.checksum for w in fast}),
        "p50_ms": 1000 * delays[len(delays) // 2] if delays else 0,
        "p99_ms": 1000 * delays[int(len(delays) * 0.99)] if delays else 0,
        "cpu_s": time.process_time(),
    })  # fmt: skip
    for watcher in (*fast, *slow):
        watcher.transport.abort()
    await asyncio.sleep(0.5)


def watchers(*arguments):
    """The process of the watchers."""
    uvloop.run(watch(*arguments))


def usage(pid):
    """CPU seconds and resident megabytes of a process and its children."""
    ticks = memory = 0
    pids = [str(pid)]
    for one in pids:
        stat = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += int(stat[11]) + int(stat[12])
        status = Path(f"/proc/{one}/status").read_text()
        memory += int(status.split("VmRSS:")[1].split()[0])
        pids += Path(f"/proc/{one}/task/{one}/children").read_text().split()
    return ticks / os.sysconf("SC_CLK_TCK"), memory / 1024


def start(instrument, folder, reference, settings=""):
    """The server, ready."""
    port = free_port()
    environment = {**instrument.environment, "QSERVER_HTTP_SERVER_SINGLE_USER_API_KEY": KEY}
    if reference:
        command = [f"{reference}/bin/start-bluesky-httpserver", "--host", "127.0.0.1", "--port", str(port)]
        environment["QSERVER_HTTP_SERVER_HOST"], environment["QSERVER_HTTP_SERVER_PORT"] = "127.0.0.1", str(port)
    else:
        (folder / "config.toml").write_text(settings)
        config = str(folder / "config.toml")
        command = [sys.executable, "-m", "sanic_qserver", "serve", "--port", str(port), "--config", config]
    server = Part("reference" if reference else "server", command, folder, environment)
    until = time.monotonic() + 60
    while True:
        try:
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/api/status", headers={"Authorization": f"ApiKey {KEY}"}
            )
            urllib.request.urlopen(request, timeout=2).read()
        except OSError:
            if time.monotonic() > until or not server.is_running:
                raise server.failed("does not answer") from None
            time.sleep(0.2)
        else:
            return server, port


def usage_of(parts):
    """The same for several."""
    return tuple(map(sum, zip(*(usage(part.pid) for part in parts), strict=True)))


def measure(instrument, folder, *, count, stalled, rate, seconds, reference="", replicas=1):
    """One run. Returns a row of the table."""
    context = multiprocessing.get_context("spawn")
    begin, ready, sums, results = context.Event(), context.Queue(), context.Queue(), context.Queue()
    redis, settings = None, ""
    if replicas > 1:
        redis_port = free_port()
        redis = start_redis(folder, redis_port, f"redis-{redis_port}")
        wait_for(redis_port)
        settings = f'[replicas]\nredis = "redis://127.0.0.1:{redis_port}/0"\n'
    started = [start(instrument, folder, reference, settings) for _ in range(replicas)]
    servers, ports = [part for part, _ in started], [port for _, port in started]
    publisher = context.Process(target=publish, args=(instrument.info_address, rate, seconds, begin, sums))
    publisher.start()
    time.sleep(3)  # The server finds the publisher.
    idle_mb = usage_of(servers)[1]
    watching = [
        context.Process(
            target=watchers, args=(port, count, stalled, rate * seconds, seconds, bool(reference), ready, results)
        )
        for port in ports
    ]
    for process in watching:
        process.start()
    for _ in watching:
        ready.get()
    begin.set()
    (cpu, connected_mb), began, most_mb, came = usage_of(servers), time.monotonic(), 0.0, []
    while len(came) < replicas:
        most_mb = max(most_mb, usage_of(servers)[1])
        with contextlib.suppress(queue.Empty):
            came.append(results.get(timeout=0.2))
    cpu_s, took_s = usage_of(servers)[0] - cpu, time.monotonic() - began
    for process in watching:
        process.join()
    result = {
        "lines": [lines for one in came for lines in one["lines"]],
        "checksums": sorted({checksum for one in came for checksum in one["checksums"]}),
        **{name: max(one[name] for one in came) for name in ("p50_ms", "p99_ms")},
    }
    checksum = sums.get()
    time.sleep(TRIM_AFTER_S + 5)  # Then their memory is given back.
    after_mb = usage_of(servers)[1]
    publisher.terminate()
    for part in (*servers, *([redis] if redis else [])):
        part.stop()
    delivered = sum(result["lines"])
    return {
        "server": "bluesky-httpserver" if reference else "sanic_qserver",
        "watchers": (f"{count}, {stalled} stalled" if stalled else str(count))
        + (f" on each of {replicas}" if replicas > 1 else ""),
        "delivered/s": f"{delivered / seconds:,.0f}" if min(result["lines"]) >= rate * seconds else
                       f"{delivered / took_s:,.0f}",
        "complete": sum(lines >= rate * seconds for lines in result["lines"]),
        "every byte right": result["checksums"] == [checksum] if not reference else "not checked",
        "CPU": f"{100 * cpu_s / took_s:.0f} %",
        "us/line": f"{1e6 * cpu_s / max(1, delivered):.2f}",
        "RSS MB idle/connected/most/after": f"{idle_mb:.0f}/{connected_mb:.0f}/{most_mb:.0f}/{after_mb:.0f}",
        "delay ms p50/p99": f"{result['p50_ms']:.0f}/{result['p99_ms']:.0f}",
    }  # fmt: skip


def main():
    """Run, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--watchers", type=int, default=1000)
    parser.add_argument("--rate", type=int, default=1000, help="console lines a second")
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--replicas", type=int, default=1, help="servers, each with so many watchers")
    parser.add_argument("--reference", default="", help="a virtual environment with bluesky-httpserver")
    parser.add_argument("--reference-rates", default="10,50", help="lines a second; it is saturated far below 1000")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(65_536, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
    count, rate, seconds = options.watchers, options.rate, options.seconds
    rows = []

    def add(lines, **how):
        row = {"lines/s": lines, **measure(instrument, folder, count=count, rate=lines, seconds=seconds, **how)}
        if not rows:
            print("| " + " | ".join(row) + " |\n|" + "---|" * len(row))
        rows.append(row)
        print("| " + " | ".join(str(value) for value in row.values()) + " |", flush=True)

    with tempfile.TemporaryDirectory() as name, Instrument(Path(name), publish=False) as instrument:
        folder = Path(name)
        for stalled in (0, count // 2) if options.replicas == 1 else (0,):
            add(rate, stalled=stalled, replicas=options.replicas)
        for slow_rate in map(int, options.reference_rates.split(",") if options.reference else ()):
            add(slow_rate, stalled=0, reference=options.reference)


if __name__ == "__main__":
    main()
