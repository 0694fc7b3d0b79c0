"""Everything side by side, in turns: RE Manager, the reference server, a bare Sanic handler, and this server.

    python benchmarks/run.py            about ten minutes; writes docs/benchmarks.md and its plots
    python benchmarks/run.py --quick    one short round; prints, and writes nothing unless --output is given

Needs wrk (Debian package `wrk`) and `pip install 'sanic-qserver[demo]'`. The reference server is installed from PyPI
into an environment of its own, once (--venv).
"""

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]

import load
import report
import servers
from load import PLAN, Load, Raw, wrk
from servers import Server

from sanic_qserver.demo import Instrument

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Bench:
    """What runs, and what was measured: (work, connections, server) -> one Load a round."""

    raw: Raw
    instrument: Instrument
    bare: Server
    ours: Server
    alone: Server
    reference: Server | None
    seconds: float
    quick: bool
    round: int = 1
    measured: dict[tuple[str, int, str], list[Load]] = field(default_factory=dict)
    manager_us: dict[tuple[str, int, str], list[float]] = field(default_factory=dict)
    rss_mb: dict[str, list[float]] = field(default_factory=dict)

    def keep(self, work: str, connections: int, name: str, measured: Load) -> None:
        """Remember one measurement, and show it."""
        self.measured.setdefault((work, connections, name), []).append(measured)
        told = " ".join(f"{share} {value:.2f} ms" for share, value in measured.latencies_ms.items())
        errors = f"  {measured.errors} ERRORS" if measured.errors else ""
        print(f"  {work:32} c={connections:<4} {name:10} {measured.rate:10.1f}/s  {told}{errors}", flush=True)

    def repeat(self, work: str, server: Server | None, path: str, connections: int, **request: Any) -> None:
        """Send one request again and again."""
        if server is None:
            return
        pids = servers.pids_of(self.instrument)
        before, started = servers.cpu_s(pids), time.perf_counter()
        measured = wrk(server, path, connections, self.seconds, **request)
        used = servers.cpu_s(pids) - before
        count = max(measured.rate * (time.perf_counter() - started), 1)
        self.manager_us.setdefault((work, connections, server.name), []).append(used / count * 1e6)
        self.keep(work, connections, server.name, measured)

    @property
    def both(self) -> tuple[Server | None, ...]:
        """This server and the reference."""
        return (self.ours, self.reference)


def status(bench: Bench) -> None:
    """GET status."""
    for connections in (16, 64) if bench.quick else (1, 16, 64, 256):
        for server in (bench.bare, *bench.both):
            bench.repeat("GET status", server, "/api/status", connections)


def latency(bench: Bench) -> None:
    """One client: what this server adds to a raw 0MQ call."""
    direct_ms = bench.raw.status_ms(200 if bench.quick else 1000)
    bench.keep("raw 0MQ status", 1, "RE Manager", Load(1000 / direct_ms, {"p50": direct_ms}))
    bench.repeat("GET status, one client", bench.ours, "/api/status", 1)


def lists(bench: Bench) -> None:
    """Plans allowed; queue with 1,000 and 10,000 items: unchanged, 304, compressed."""
    for server in bench.both:
        bench.repeat("GET plans/allowed", server, "/api/plans/allowed", 16)
    # Filling takes RE Manager half a minute: the long queue is measured in the first round only.
    for count in (1000,) if bench.quick or bench.round > 1 else (1000, 10_000):
        bench.raw.fill(count)
        for server in bench.both:
            bench.repeat(f"GET queue, {count}, unchanged", server, "/api/queue/get", 16)
        tag = {"If-None-Match": _etag(bench.ours, "/api/queue/get")}
        bench.repeat(f"GET queue, {count}, 304", bench.ours, "/api/queue/get", 16, headers=tag)
        zstd = {"Accept-Encoding": "zstd"}
        bench.repeat(f"GET queue, {count}, zstd", bench.ours, "/api/queue/get", 16, headers=zstd)
        bench.repeat(f"GET queue, {count}, page of 50", bench.ours, "/api/queue/get?limit=50", 16)


def changed(bench: Bench) -> None:
    """The queue with 1,000 items while somebody changes it all the time."""
    bench.raw.fill(1000)
    for server in bench.both:
        if server is not None:
            measured = asyncio.run(_while_changing(server, bench.seconds))
            bench.keep("GET queue, 1000, changing", 16, server.name, measured)


def adds(bench: Bench) -> None:
    """POST item/add, one by one; RE Manager's own rate; batches."""
    body = {"item": PLAN}
    for connections in (64,) if bench.quick else (1, 16, 64, 256):
        for server in (bench.ours, bench.alone, bench.reference):
            bench.raw.call("queue_clear")
            bench.repeat("POST item/add", server, "/api/queue/item/add", connections, body=body)
        own = bench.raw.adds_per_s(64, bench.seconds)
        bench.keep("batches of 64, raw", connections, "RE Manager", Load(own))
    for server in bench.both:
        bench.raw.call("queue_clear")
        batch = {"items": [PLAN] * 50}
        bench.repeat("POST item/add/batch of 50", server, "/api/queue/item/add/batch", 4, body=batch)


def bulk(bench: Bench) -> None:
    """NDJSON."""
    bench.raw.call("queue_clear")
    rate = asyncio.run(load.stream(bench.ours, 1000 if bench.quick else 5000))
    bench.keep("NDJSON stream, items", 1, "ours", Load(rate))


def mixed(bench: Bench) -> None:
    """8 submitters at full speed, 100 watchers."""
    for server in bench.both:
        if server is not None:
            bench.raw.call("queue_clear")
            reads, written = asyncio.run(load.mixed(server, 3 * bench.seconds))
            bench.keep("mixed: reads of 100 watchers", 100, server.name, reads)
            bench.keep("mixed: adds of 8 submitters", 8, server.name, written)


def soak(bench: Bench, minutes: float) -> None:
    """Mixed load for minutes: memory must not grow."""
    until = time.perf_counter() + minutes * 60
    while time.perf_counter() < until:
        reads, written = asyncio.run(load.mixed(bench.ours, 30))
        told = f"reads p99 {reads.latencies_ms['p99']:.0f} ms, adds {written.rate:.0f}/s, {reads.errors} errors"
        print(f"{bench.ours.rss_mb:.1f} MB resident; {told}", flush=True)


WORKS: tuple[Callable[[Bench], None], ...] = (status, latency, lists, changed, adds, bulk, mixed)


def _etag(server: Server, path: str) -> str:
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", headers=server.headers)
    with urllib.request.urlopen(request) as answer:
        return str(answer.headers["ETag"])


async def _while_changing(server: Server, seconds: float) -> Load:
    """Rate of reads of 16 clients while one moves items as fast as it can."""
    until, reads = time.perf_counter() + seconds, [0]
    move = json.dumps({"pos": "back", "pos_dest": "front"}).encode()

    async def change() -> None:
        async with load.Connection(server) as connection:
            while time.perf_counter() < until:
                await connection.ask("POST", "/api/queue/item/move", move)

    async def read() -> None:
        async with load.Connection(server) as connection:
            while time.perf_counter() < until:
                await connection.ask("GET", "/api/queue/get")
                reads[0] += 1

    await asyncio.gather(change(), *(read() for _ in range(16)))
    return Load(reads[0] / seconds)


@contextlib.contextmanager
def everything(arguments: argparse.Namespace, folder: Path) -> Iterator[Bench]:
    """All servers in front of one RE Manager."""
    with contextlib.ExitStack() as stack:
        instrument = stack.enter_context(Instrument(folder / "instrument"))
        raw = Raw(instrument.control_address)
        stack.callback(raw.close)
        reference = None
        if not arguments.no_reference:
            servers.install_reference(arguments.venv)
            reference = stack.enter_context(servers.reference(folder, instrument, arguments.venv))
        off = "[submissions]\ngroup_commit = false\n"
        yield Bench(
            raw=raw,
            instrument=instrument,
            bare=stack.enter_context(servers.bare(folder)),
            ours=stack.enter_context(servers.ours(folder, instrument)),
            alone=stack.enter_context(servers.ours(folder, instrument, "ours, each alone", off)),
            reference=reference,
            seconds=arguments.seconds,
            quick=arguments.quick,
        )


def main() -> None:
    """Measure, then tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--rounds", type=int, help="rounds of everything (default 3, quick 1)")
    parser.add_argument("--seconds", type=float, help="a measurement takes (default 3, quick 1)")
    parser.add_argument("--only", help="comma-separated: " + ", ".join(work.__name__ for work in WORKS))
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="instead: mixed load, memory every 30 s")
    parser.add_argument("--no-reference", action="store_true", help="without the reference server")
    default = Path.home() / ".cache" / "sanic-qserver-bench"
    parser.add_argument("--venv", type=Path, default=default, help=f"the reference server's environment ({default})")
    parser.add_argument("--output", type=Path, help="where to write the report (default docs/, quick: nowhere)")
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 3)
    arguments.seconds = arguments.seconds or (1 if arguments.quick else 3)
    load.needs_wrk()
    wanted = arguments.only.split(",") if arguments.only else [work.__name__ for work in WORKS]
    with tempfile.TemporaryDirectory(prefix="sanic-qserver-bench-") as name:
        with everything(arguments, Path(name)) as bench:
            if arguments.soak:
                soak(bench, arguments.soak)
                return
            for bench.round in range(1, arguments.rounds + 1):
                for work in WORKS:
                    if work.__name__ in wanted:
                        print(f"round {bench.round}, {work.__name__}:", flush=True)
                        work(bench)
                for server in (bench.ours, bench.reference):
                    if server is not None:
                        bench.rss_mb.setdefault(server.name, []).append(server.rss_mb)
            told = report.tell(bench, [server for server in (bench.bare, *bench.both) if server is not None])
    print(told)
    output = arguments.output or (None if arguments.quick else ROOT / "docs")
    if output is not None:
        report.write(bench, told, output)


if __name__ == "__main__":
    main()
