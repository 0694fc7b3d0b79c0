"""How long `sanic-qserver serve` takes from its start to its first answer, and how much memory it then holds.

Run: python benchmarks/startup.py [--rounds N]. Prints the medians. RE Manager is not needed: `/healthz` answers alone.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from sanic_qserver.demo import free_port


def one_start() -> tuple[float, float]:
    """Seconds to the first answer, and MiB resident one second later."""
    port = free_port()
    environment = {**os.environ, "QSERVER_HTTP_SERVER_SINGLE_USER_API_KEY": "benchmark"}
    environment["QSERVER_ZMQ_CONTROL_ADDRESS"] = f"tcp://127.0.0.1:{free_port()}"
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "sanic_qserver", "serve", "--port", str(port)],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1).read()
                break
            except OSError:
                time.sleep(0.005)
        took_s = time.perf_counter() - started
        time.sleep(1)
        status = Path(f"/proc/{process.pid}/status").read_text()
        kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)
    return took_s, kib / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = [one_start() for _ in range(parser.parse_args().rounds)]
    times, sizes = zip(*rounds, strict=True)
    print(f"start to first answer: median {statistics.median(times):.2f} s (best {min(times):.2f} s)")
    print(f"resident memory:       median {statistics.median(sizes):.1f} MiB")


if __name__ == "__main__":
    main()
