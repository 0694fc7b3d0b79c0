"""How many more reads do two workers give than one?

    python benchmarks/scaling.py [--seconds 5] [--rounds 3] [--connections 64]

`wrk` asks for the status, and for a queue of 1000 items that does not change, in turns of one worker and two; both
share a Redis, as replicas do. No rate rules: they cost a question to Redis for each request, the same for both. Beside
the rates stand the processor times, of all workers, RE Manager and `wrk`: on a machine with two cores the load
generator and RE Manager take their part of the second one.
"""

import argparse
import contextlib
import os
import resource
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from load import Load, Raw, needs_wrk, wrk
from parts import start_redis, wait_for
from servers import HERE, KEY, Server, cpu_s, pids_of, serving

from sanic_qserver.demo import Instrument, free_port

PATHS = {"status": "/api/status", "queue of 1000": "/api/queue/get"}


def with_children(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            found += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
    return found


@contextlib.contextmanager
def workers(folder: Path, instrument: Instrument, count: int, redis_port: int) -> Iterator[Server]:
    """A server with so many workers."""
    port = free_port()
    (folder / "no-rates.yaml").write_text("rates: []\n")
    file = folder / f"{count}.toml"
    file.write_text(
        f'[replicas]\nredis = "redis://127.0.0.1:{redis_port}/0"\n[policy]\nrate_limits = "{folder}/no-rates.yaml"\n'
    )
    environment = {
        **instrument.environment,
        "QSERVER_HTTP_SERVER_SINGLE_USER_API_KEY": KEY,
        "PYTHONPATH": str(HERE.parent),
    }
    command = [sys.executable, "-m", "sanic_qserver", "serve", "--config", str(file), "--port", str(port)]
    command += ["--workers", str(count)]
    with serving(f"{count} workers", command, port, environment, folder / f"{count}.log") as server:
        yield server


def measure(server: Server, instrument: Instrument, path: str, connections: int, seconds: float) -> tuple[Load, str]:
    """One round: the rate, and who used how much of a core."""
    everybody = {"workers": with_children(server.process.pid), "RE Manager": pids_of(instrument)}
    before = {name: cpu_s(pids) for name, pids in everybody.items()}
    own = resource.getrusage(resource.RUSAGE_CHILDREN)
    load = wrk(server, path, connections, seconds)
    used = {name: (cpu_s(pids) - before[name]) / seconds for name, pids in everybody.items()}
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    used["wrk"] = (now.ru_utime + now.ru_stime - own.ru_utime - own.ru_stime) / seconds
    load.cpu_us = used["workers"] / load.rate * 1e6
    return load, ", ".join(f"{name} {100 * share:.0f} %" for name, share in used.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=64)
    args = parser.parse_args()
    needs_wrk()
    rates: dict[tuple[str, int], list[Load]] = {}
    shares: dict[tuple[str, int], str] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        redis_port = free_port()
        redis = start_redis(folder, redis_port, "shared")
        wait_for(redis_port)
        try:
            with Instrument(folder / "instrument") as instrument, contextlib.ExitStack() as stack:
                raw = Raw(instrument.control_address)
                raw.fill(1000)
                raw.close()
                servers = {
                    count: stack.enter_context(workers(folder, instrument, count, redis_port)) for count in (1, 2)
                }
                for _ in range(args.rounds):
                    for what, path in PATHS.items():
                        for count, server in servers.items():
                            load, share = measure(server, instrument, path, args.connections, args.seconds)
                            rates.setdefault((what, count), []).append(load)
                            shares[what, count] = share
        finally:
            redis.stop()
    print(f"{os.cpu_count()} cores, {args.connections} connections, medians of {args.rounds} rounds\n")
    print(
        "| read | one worker, requests/s | two | ratio | µs of processor a request, one / two | of a core, with two |"
    )
    print("|---|---:|---:|---:|---:|---|")
    for what in PATHS:
        one, two = ([load.rate for load in rates[what, count]] for count in (1, 2))
        costs = [median(load.cpu_us for load in rates[what, count]) for count in (1, 2)]
        ratio = median(b / a for a, b in zip(one, two, strict=True))
        print(f"| {what} | {median(one):,.0f} | {median(two):,.0f} | {ratio:.2f} | {costs[0]:.0f} / {costs[1]:.0f} "
              f"| {shares[what, 2]} |")  # fmt: skip
        errors = sum(load.errors for count in (1, 2) for load in rates[what, count])
        if errors:
            print(f"{errors} errors")


if __name__ == "__main__":
    main()
