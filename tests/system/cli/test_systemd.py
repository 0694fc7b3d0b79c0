"""What systemd is told and what it passes, with the test in systemd's place: a datagram socket, a watchdog, sockets."""

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest
from servers import KEY, ServerProcess, until, with_key
from systemd import Systemd, serving
from worker_processes import two_workers, workers_of

from sanic_qserver.cli.listening import bind_sockets
from sanic_qserver.config.settings import ServerConfig
from sanic_qserver.errors import ConfigError

HEADERS = {"Authorization": f"ApiKey {KEY}"}
HANGS = """
import time
from pathlib import Path
from sanic_qserver.extension_api import Endpoint, NoParams, Scope

async def hang(call):
    Path("hangs").touch()
    while not Path("goes-on").exists():
        time.sleep(0.01)  # It blocks the event loop.
    return b"{}"

def register(host):
    host.add_endpoint(Endpoint("POST", "/hang", Scope.READ_STATUS, "", NoParams, serve=hang))
"""
MODULE = '[extensions]\nmodules = ["hangs"]\nendpoint_timeout_s = 600.0\n'


@pytest.fixture
def systemd(folder):
    made = Systemd(folder)
    yield made
    made.close()


def ask(path, transport=None):
    with httpx.Client(base_url="http://localhost", headers=HEADERS, transport=transport, timeout=60) as client:
        return client.get(path)


def test_ready_reloading_and_stopping_are_told(instrument, folder, systemd):
    (folder / "config.toml").write_text("")
    options = ("serve", "--config", folder / "config.toml")
    with ServerProcess(folder, *options, environment={**with_key(instrument), **systemd.environment}) as server:
        assert systemd.wait_for("READY=1") == ["READY=1"]
        server.process.send_signal(signal.SIGHUP)
        reloading, ready = systemd.hear(), systemd.hear()
        assert reloading.startswith("RELOADING=1\nMONOTONIC_USEC=")
        assert 0 < int(reloading.rpartition("=")[2]) <= time.monotonic_ns() // 1000
        assert ready == "READY=1"
        assert server.stop() == 0, server.text
    assert systemd.hear_all() == ["STOPPING=1\nEXTEND_TIMEOUT_USEC=20000000"]


def test_the_watchdog_hears_nothing_while_the_event_loop_hangs(instrument, folder, systemd):
    (folder / "hangs.py").write_text(HANGS)
    (folder / "config.toml").write_text(MODULE)
    options = ("serve", "--config", folder / "config.toml")
    environment = {**with_key(instrument), **systemd.environment, "WATCHDOG_USEC": "200000"}
    with ServerProcess(folder, *options, environment=environment) as server:
        for _ in range(3):
            systemd.wait_for("WATCHDOG=1")
        thread = threading.Thread(target=lambda: httpx.post(f"{server.url}/api/hang", headers=HEADERS, timeout=60))
        thread.start()
        until((folder / "hangs").exists)
        systemd.hear_all()
        assert systemd.hear(2.0) == "", "ten times the period without a sign of life"
        (folder / "goes-on").touch()
        systemd.wait_for("WATCHDOG=1")
        thread.join()


def test_another_process_is_not_asked_for_signs_of_life(instrument, folder, systemd):
    environment = {**with_key(instrument), **systemd.environment, "WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"}
    with ServerProcess(folder, "serve", environment=environment) as server:
        systemd.wait_for("READY=1")
        assert server.answers()
        assert systemd.hear(1.0) == ""


@pytest.mark.slow
def test_with_workers_systemd_hears_the_process_above_them_and_a_hung_one_is_replaced(instrument, folder, systemd):
    (folder / "hangs.py").write_text(HANGS)
    options = two_workers(folder, instrument.redis_port, MODULE)
    environment = {**with_key(instrument), **systemd.environment, "WATCHDOG_USEC": "8000000"}
    with ServerProcess(folder, *options, environment=environment) as server:
        heard = systemd.wait_for("READY=1")
        assert heard[:-1] == ["WATCHDOG=1"] * (len(heard) - 1)
        server.process.send_signal(signal.SIGHUP)
        heard = systemd.wait_for("READY=1")
        assert sum(one.startswith("RELOADING=1\n") for one in heard) == 1
        before = workers_of(server)
        with contextlib.suppress(httpx.HTTPError):  # It is answered by nobody.
            httpx.post(f"{server.url}/api/hang", headers=HEADERS, timeout=60)
        assert (folder / "hangs").exists()
        until(lambda: len(workers_of(server)) == 2 and len(workers_of(server) & before) == 1)
        assert "that it lives" in server.text
        assert server.process.poll() is None
        assert server.stop() == 0, server.text
        assert systemd.hear_all()[-1].startswith("STOPPING=1\n")


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_passed_unix_socket_is_served_and_survives_a_restart(instrument, folder, systemd, workers):
    options = two_workers(folder, instrument.redis_port) if workers == 2 else ()
    path = folder / "http"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(100)
        for _ in range(3 - workers):
            with serving(listener, folder, {**with_key(instrument), **systemd.environment}, *options[1:]):
                # Nobody is refused: the request waits in the socket until the server takes it.
                assert ask("/api/ping", httpx.HTTPTransport(uds=str(path))).status_code == 200
                systemd.wait_for("READY=1")
    if workers == 1:
        assert f"Listening on unix:{path} " in (folder / "passed.log").read_text()


def test_a_passed_port_is_the_one_that_is_told(instrument, folder, systemd):
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        port = listener.getsockname()[1]
        with serving(listener, folder, {**with_key(instrument), **systemd.environment}):
            systemd.wait_for("READY=1")
            assert httpx.get(f"http://127.0.0.1:{port}/api/ping", headers=HEADERS, timeout=60).status_code == 200
    assert f"Listening on http://127.0.0.1:{port} " in (folder / "passed.log").read_text()


def test_a_passed_socket_that_takes_no_connections_is_a_mistake(folder):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wrong:
        wrong.bind(("127.0.0.1", 0))
        script = f'exec env LISTEN_PID=$$ LISTEN_FDS=1 "$0" -m sanic_qserver serve 3<&{wrong.fileno()}'
        command = ["/bin/bash", "-c", script, sys.executable]
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=60, check=False, pass_fds=(wrong.fileno(),)
        )
    assert done.returncode == 2
    assert "ListenStream" in done.stderr


def test_a_unix_socket_of_ones_own_is_served_and_trusted_where_it_is_listed(instrument, folder):
    path, audit = folder / "http", folder / "audit.jsonl"
    (folder / "config.toml").write_text(
        f'[server]\nunix_socket = "{path}"\ntrusted_proxies = ["unix"]\n[audit]\nfile = "{audit}"\n'
    )
    for _ in range(2):  # What the first one leaves behind does not hinder the second.
        server = ServerProcess(folder, "serve", "--config", folder / "config.toml", environment=with_key(instrument))
        try:
            server.says(f"Listening on unix:{path} ")
            transport = httpx.HTTPTransport(uds=str(path))
            with httpx.Client(base_url="http://localhost", transport=transport, timeout=60) as client:
                forged = {"X-Forwarded-For": "203.0.113.9, 192.0.2.7", **HEADERS}
                assert client.post("/api/queue/autostart", json={"enable": False}, headers=forged).status_code == 200
            assert not server.answers(), "it listens on no port"
            with pytest.raises(ConfigError, match="another server listens"):
                bind_sockets(ServerConfig(unix_socket=str(path)))
        finally:
            assert server.stop() == 0, server.text
    assert '"address":"192.0.2.7"' in audit.read_text()
    assert "203.0.113.9" not in audit.read_text()


@pytest.mark.parametrize("name", ["no/folder/http", "file"])
def test_a_unix_socket_that_cannot_be_bound_is_told(folder, name):
    (folder / "file").write_text("something of somebody's")
    with pytest.raises(ConfigError, match="unix_socket"):
        bind_sockets(ServerConfig(unix_socket=str(folder / name)))
    assert (folder / "file").read_text() == "something of somebody's"
