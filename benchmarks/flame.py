"""A flame graph of the server under load: `python benchmarks/flame.py [path] [connections]` writes flame.svg.

`--manager` looks into RE Manager instead, while this server hands it adds: where the time of an add goes.

Needs py-spy (`pip install py-spy`) and the right to look into processes (ptrace).
"""

import argparse
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", default="")
    parser.add_argument("connections", nargs="?", type=int, default=0)
    parser.add_argument("--manager", action="store_true", help="look into RE Manager")
    parser.add_argument("--output", default="flame.svg")
    arguments = parser.parse_args()
    path = arguments.path or ("/api/queue/item/add" if arguments.manager else "/api/status")
    connections = arguments.connections or (64 if arguments.manager else 16)
    load.needs_wrk()
    beside = Path(sys.executable).parent / "py-spy"
    py_spy = str(beside) if beside.exists() else shutil.which("py-spy")
    if py_spy is None:
        raise SystemExit("py-spy is missing: pip install py-spy")
    with tempfile.TemporaryDirectory() as name, Instrument(Path(name) / "instrument") as instrument:
        with servers.ours(Path(name), instrument) as server:
            assert instrument.manager is not None
            pid = instrument.manager.pid if arguments.manager else server.process.pid
            spy = subprocess.Popen(
                [py_spy, "record", "--gil", "--subprocesses", "-d", "10", "-r", "500", "-o", arguments.output,
                 "--pid", str(pid)]
            )  # fmt: skip
            body = {"item": load.PLAN} if path.endswith("/add") else None
            print(load.wrk(server, path, connections, 12, body=body))
            spy.wait()


if __name__ == "__main__":
    main()
