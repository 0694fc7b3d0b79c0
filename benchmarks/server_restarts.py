"""Whether a request fails when this server is restarted again and again under load.

Run: python benchmarks/server_restarts.py {socket,haproxy,workers} [--rounds 50] [--clients 4]

Clients ask without pause (a read, then a change), and open a new connection when they are told that one is closed; a
connection that is refused counts as a failure too. `socket`: SIGTERM and a new server on the same listening socket, as
systemd does it. `haproxy`: two servers behind `deploy/haproxy.cfg`, one after the other. `workers`: SIGUSR2.
"""

import argparse
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from servers import KEY

from sanic_qserver.demo import Instrument, free_port

ROOT = Path(__file__).resolve().parent.parent
HEADERS = {"Authorization": f"ApiKey {KEY}"}
RATES = "rates: []\n"
CONFIG = '[server]\ndrain_delay_s = {drain}\ntrusted_proxies = ["127.0.0.1"]\n[policy]\nrate_limits = "rates.yaml"\n'


class Load:
    """Clients in threads."""

    def __init__(self, port: int, clients: int) -> None:
        self.port = port
        self.answered = self.closed = 0
        self.failures: list[str] = []
        self.slowest_s = 0.0
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._is_over.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            try:
                with contextlib.closing(connection):
                    self._ask(connection)
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"{time.strftime('%X')} {error!r}")

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        body = json.dumps({"enable": False})
        number = 0
        while not self._is_over.is_set():
            began, number = time.monotonic(), number + 1
            if number % 2:
                connection.request("GET", "/api/status", headers=HEADERS)
            else:
                connection.request("POST", "/api/queue/autostart", body=body, headers=HEADERS)
            response = connection.getresponse()
            text = response.read()
            if response.status != 200 or not text.endswith(b"}"):
                self.failures.append(f"{time.strftime('%X')} {response.status} {text[:200]!r}")
            with self._lock:
                self.answered += 1
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            if response.getheader("connection") == "close":
                with self._lock:
                    self.closed += 1
                return
            time.sleep(0.002)


def wait_for(is_so: Callable[[], object], seconds: float = 90) -> None:
    """Until something is so."""
    until = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > until:
            raise TimeoutError
        time.sleep(0.05)


def is_ready(port: int) -> bool:
    """Whether `/readyz` says so."""
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
        return bool(answer.status == 200)
    return False


def end(process: "subprocess.Popen[bytes]") -> None:
    """SIGTERM, and the end in order."""
    process.terminate()
    if process.wait(60):
        raise SystemExit(f"a server ended with {process.returncode}")


class Site:
    """A folder with a configuration, and an instrument."""

    def __init__(self, folder: Path, instrument: Instrument, drain_s: float = 0.0, more: str = "") -> None:
        self.folder = folder
        (folder / "rates.yaml").write_text(RATES)
        (folder / "config.toml").write_text(CONFIG.format(drain=drain_s) + more)
        self.environment = {**os.environ, **instrument.environment, "QSERVER_HTTP_SERVER_SINGLE_USER_API_KEY": KEY}

    def start(self, *arguments: object, listener: socket.socket | None = None) -> "subprocess.Popen[bytes]":
        """A server; on a listening socket as systemd passes it."""
        words = ["-m", "sanic_qserver", "serve", "--config", str(self.folder / "config.toml"), *map(str, arguments)]
        command, passed = [sys.executable, *words], ()
        if listener is not None:
            passed = (listener.fileno(),)
            shell = f'exec env LISTEN_PID=$$ LISTEN_FDS=1 "$0" "$@" 3<&{passed[0]}'
            command = ["/bin/bash", "-c", shell, sys.executable, *words]
        with (self.folder / "servers.log").open("ab") as log:
            return subprocess.Popen(
                command, env=self.environment, cwd=self.folder, stdout=log, stderr=log, pass_fds=passed
            )


@contextlib.contextmanager
def on_a_socket(folder: Path, instrument: Instrument) -> Iterator[tuple[int, Callable[[int], None]]]:
    """One server at a time, on a socket that stays."""
    site = Site(folder, instrument)
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as listener:
        port = listener.getsockname()[1]
        servers = [site.start(listener=listener)]

        def restart(_: int) -> None:
            end(servers.pop())
            servers.append(site.start(listener=listener))
            wait_for(lambda: is_ready(port))

        wait_for(lambda: is_ready(port))
        yield port, restart
        end(servers.pop())


@contextlib.contextmanager
def behind_haproxy(folder: Path, instrument: Instrument) -> Iterator[tuple[int, Callable[[int], None]]]:
    """Two servers behind HAProxy, restarted in turn."""
    site, port, ports = Site(folder, instrument, drain_s=2.5), free_port(), [free_port(), free_port()]
    text = (ROOT / "deploy" / "haproxy.cfg").read_text()
    listed = "\n".join(f"    server s{one} 127.0.0.1:{one}" for one in ports)
    text = re.sub(r"    server one .*", listed, text.replace("*:8080", f"127.0.0.1:{port}")).replace("20000", "500")
    (folder / "haproxy.cfg").write_text(text)
    servers = [site.start("--port", one) for one in ports]
    for one in ports:
        wait_for(lambda one=one: is_ready(one))
    haproxy = shutil.which("haproxy", path="/usr/sbin:/usr/bin") or "haproxy"
    with (folder / "haproxy.log").open("wb") as log:
        proxy = subprocess.Popen([haproxy, "-db", "-f", str(folder / "haproxy.cfg")], stdout=log, stderr=log)

    def restart(number: int) -> None:
        at = number % 2
        end(servers[at])
        servers[at] = site.start("--port", ports[at])
        wait_for(lambda: is_ready(ports[at]))
        time.sleep(2.0)  # HAProxy looks each second.

    wait_for(lambda: is_ready(port))
    yield port, restart
    proxy.terminate()
    proxy.wait(20)
    for server in servers:
        end(server)


def workers_of(server: "subprocess.Popen[bytes]") -> set[int]:
    """The process ids of the workers."""
    found = set()
    for number in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split():
        with contextlib.suppress(OSError):
            if "spawn_main" in Path(f"/proc/{number}/cmdline").read_text():
                found.add(int(number))
    return found


@contextlib.contextmanager
def with_workers(folder: Path, instrument: Instrument) -> Iterator[tuple[int, Callable[[int], None]]]:
    """One server whose two workers are replaced."""
    port = free_port()
    shared = f'[replicas]\nredis = "redis://127.0.0.1:{instrument.redis_port}/7"\n'
    server = Site(folder, instrument, more=shared).start("--workers", 2, "--port", port)

    def restart(_: int) -> None:
        before = workers_of(server)
        server.send_signal(signal.SIGUSR2)
        wait_for(lambda: len(workers_of(server)) == 2 and not workers_of(server) & before)

    wait_for(lambda: is_ready(port))
    wait_for(lambda: len(workers_of(server)) == 2)
    yield port, restart
    end(server)


WAYS = {"socket": on_a_socket, "haproxy": behind_haproxy, "workers": with_workers}


def measure(way: str, rounds: int, clients: int) -> int:
    """Restart under load. The number of failures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Instrument(folder / "instrument") as instrument, WAYS[way](folder, instrument) as (port, restart):
            with Load(port, clients) as load:
                wait_for(lambda: load.answered > 20)
                for number in range(rounds):
                    restart(number)
                    answered = load.answered
                    wait_for(lambda answered=answered: load.answered > answered + 20)
                    print(f"{number + 1}: {load.answered} answered, {len(load.failures)} failed", flush=True)
        log = (folder / "servers.log").read_text("utf-8", "replace")
    result = {
        "way": way,
        "restarts": rounds,
        "answered": load.answered,
        "connections closed in order": load.closed,
        "failed": len(load.failures),
        "slowest answer, s": round(load.slowest_s, 2),
        "tracebacks in the log": log.count("Traceback"),
    }
    print(json.dumps(result, indent=2))
    for failure in load.failures[:20]:
        print(failure)
    return len(load.failures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--clients", type=int, default=4)
    given = parser.parse_args()
    raise SystemExit(bool(measure(given.way, given.rounds, given.clients)))


if __name__ == "__main__":
    main()
