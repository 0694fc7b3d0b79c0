"""A flame graph of the server under load: `python benchmarks/flame.py [path] [connections]` writes flame.svg.

Needs py-spy (`pip install py-spy`) and the right to look into processes (ptrace).
"""

import subprocess
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]

import load
import servers

from sanic_qserver.demo import Instrument


def main() -> None:
    """Record ten seconds."""
    path = sys.argv[1] if len(sys.argv) > 1 else "/api/status"
    connections = int(sys.argv[2]) if len(sys.argv) > 2 else 16
    load.needs_wrk()
    with tempfile.TemporaryDirectory() as name, Instrument(Path(name) / "instrument") as instrument:
        with servers.ours(Path(name), instrument) as server:
            spy = subprocess.Popen(
                ["py-spy", "record", "-d", "10", "-r", "500", "-o", "flame.svg", "--pid", str(server.process.pid)]
            )
            print(load.wrk(server, path, connections, 12))
            spy.wait()


if __name__ == "__main__":
    main()
