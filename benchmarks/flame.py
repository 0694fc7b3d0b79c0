"""A flame graph of the server under load: `python benchmarks/flame.py [path] [connections]` writes flame.svg.

Needs py-spy (`pip install py-spy`) and the right to look into processes (ptrace).
"""

import shutil
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
    beside = Path(sys.executable).parent / "py-spy"
    py_spy = str(beside) if beside.exists() else shutil.which("py-spy")
    if py_spy is None:
        raise SystemExit("py-spy is missing: pip install py-spy")
    with tempfile.TemporaryDirectory() as name, Instrument(Path(name) / "instrument") as instrument:
        with servers.ours(Path(name), instrument) as server:
            spy = subprocess.Popen(
                [py_spy, "record", "-d", "10", "-r", "500", "-o", "flame.svg", "--pid", str(server.process.pid)]
            )
            print(load.wrk(server, path, connections, 12))
            spy.wait()


if __name__ == "__main__":
    main()
