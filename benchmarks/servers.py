"""The servers that are measured: a bare Sanic handler, the reference server, and this one."""

import contextlib
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sanic_qserver.demo import Instrument, free_port

HERE = Path(__file__).resolve().parent
KEY = "thekeyofthebenchmarks"  # The reference server takes letters and digits only.
REFERENCE = "bluesky-httpserver==0.0.14"
# Not declared by it, and needed to start.
REFERENCE_NEEDS = ("pandas", "matplotlib")
RATES = """
rates:
  - {name: everyone, anonymous: false, limits: 1000000/second}
  - {name: everything, by: everybody, limits: 10000000/second}
"""
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass
class Server:
    """One running server."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    start_up_s: float
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def cpu_s(self) -> float:
        """Processor time so far."""
        return cpu_s([self.process.pid])

    @property
    def rss_mb(self) -> float:
        """Resident memory now."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1000


def cpu_s(pids: list[int]) -> float:
    """Processor time of processes."""
    total = 0.0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) * _TICK_S
    return total


def pids_of(instrument: Instrument) -> list[int]:
    """RE Manager's processes: it leads a session of its own."""
    assert instrument.manager is not None
    leader = instrument.manager.pid
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, IndexError, ValueError):
            if int((folder / "stat").read_text().rpartition(")")[2].split()[3]) == leader:
                found.append(int(folder.name))
    return found


@contextlib.contextmanager
def serving(name: str, command: list[str], port: int, environment: dict[str, str], log: Path) -> Iterator[Server]:
    """Start a server and wait for its first answer; end it afterwards."""
    started = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=output, stderr=output, stdin=subprocess.DEVNULL
        )
    headers = {} if name == "bare" else {"Authorization": f"ApiKey {KEY}"}
    try:
        _await_answer(process, port, headers, log)
        yield Server(name, port, process, time.perf_counter() - started, headers)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_answer(process: "subprocess.Popen[bytes]", port: int, headers: dict[str, str], log: Path) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/status", headers=headers)
    for _ in range(600):
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=5) as answer:
            answer.read()
            return
        time.sleep(0.02)
    raise SystemExit(f"A server did not start. The end of {log}:\n{log.read_text('utf-8', 'replace')[-3000:]}")


@contextlib.contextmanager
def bare(folder: Path) -> Iterator[Server]:
    """A Sanic handler that does nothing."""
    port = free_port()
    with serving("bare", [sys.executable, str(HERE / "bare.py"), str(port)], port, {}, folder / "bare.log") as server:
        yield server


@contextlib.contextmanager
def ours(folder: Path, instrument: Instrument, name: str = "ours", settings: str = "") -> Iterator[Server]:
    """This server with the whole gate on: key, permissions, two rate rules, metrics, request id."""
    port = free_port()
    (folder / "rates.yaml").write_text(RATES)
    file = folder / f"{name}.toml"
    file.write_text(f'[policy]\nrate_limits = "{folder / "rates.yaml"}"\n{settings}')
    environment = {
        **instrument.environment,
        "QSERVER_HTTP_SERVER_SINGLE_USER_API_KEY": KEY,
        "PYTHONPATH": str(HERE.parent),
    }
    command = [sys.executable, "-m", "sanic_qserver", "serve", "--config", str(file), "--port", str(port)]
    with serving(name, command, port, environment, folder / f"{name}.log") as server:
        yield server


@contextlib.contextmanager
def reference(folder: Path, instrument: Instrument, venv: Path) -> Iterator[Server]:
    """The reference server, as its manual starts it."""
    port = free_port()
    environment = {**instrument.environment, "QSERVER_HTTP_SERVER_SINGLE_USER_API_KEY": KEY, "PYTHONPATH": ""}
    command = [str(venv / "bin" / "uvicorn"), "bluesky_httpserver.server:app", "--port", str(port),
               "--host", "127.0.0.1", "--log-level", "warning"]  # fmt: skip
    with serving("reference", command, port, environment, folder / "reference.log") as server:
        yield server


def install_reference(venv: Path) -> None:
    """Install the reference server into an environment of its own, once."""
    if (venv / "bin" / "uvicorn").exists():
        return
    print(f"Installing {REFERENCE} into {venv} …", flush=True)
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "-q", REFERENCE, *REFERENCE_NEEDS]
    subprocess.run(pip, check=True)
