"""HTTPS of a server process: real clients, renewed certificates, workers, and its end."""

import asyncio
import contextlib
import http.client
import os
import signal
import socket
import ssl
import subprocess

import httpx
import pytest
import websockets
from bluesky_queueserver_api.http import REManagerAPI
from certificates import make_certificate
from conftest import KEY, needs
from qsctl import Qsctl
from servers import ServerProcess, until, with_key
from worker_processes import two_workers, workers_of

HEADERS = {"Authorization": f"ApiKey {KEY}"}
FILES = '[server]\ntls_certificate = "cert.pem"\ntls_key = "key.pem"\n'
STREAM = {**HEADERS, "Accept": "text/event-stream"}


class Https(ServerProcess):
    """A server process with a certificate of its own in its folder."""

    def __init__(self, folder, instrument, *, workers=1):
        make_certificate(folder)
        self.ca_file = folder / "cert.pem"
        arguments = two_workers(folder, instrument.redis_port, FILES)
        if workers == 1:
            (folder / "config.toml").write_text(FILES)
            arguments = "serve", "--config", folder / "config.toml"
        super().__init__(folder, *arguments, environment=with_key(instrument))
        self.url = f"https://127.0.0.1:{self.port}"

    @property
    def context(self):
        return ssl.create_default_context(cafile=self.ca_file)

    def answers(self, path="/readyz", status=200):
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(self.url + path, timeout=5, verify=self.context).status_code == status
        return False

    def serial(self):
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=20) as plain,
            self.context.wrap_socket(plain, server_hostname="127.0.0.1") as shaken,
        ):
            return shaken.getpeercert()["serialNumber"]


@pytest.fixture(scope="module")
def server(instrument, tmp_path_factory):
    with Https(tmp_path_factory.mktemp("https"), instrument) as running:
        yield running


def test_the_official_client_and_qsctl_work_over_https(server, folder, monkeypatch, capsys):
    monkeypatch.setenv("SSL_CERT_FILE", str(server.ca_file))
    api = REManagerAPI(http_server_uri=server.url)
    api.set_authorization_key(api_key=KEY)
    try:
        assert "manager_state" in api.status()
    finally:
        api.close()
    qsctl = Qsctl(folder, monkeypatch, capsys, QSERVER_API_KEY=KEY, QSERVER_HTTP_SERVER_URI=server.url)
    assert "manager_state" in qsctl.ok("status", "--json").records[0]
    assert f"Listening on {server.url} " in server.text


def test_openssl_finds_tls_1_3_and_1_2_and_nothing_older(server):
    needs("openssl")

    def shake(*options):
        command = ["openssl", "s_client", "-brief", "-connect", f"127.0.0.1:{server.port}", *options]
        done = subprocess.run(command, input="", capture_output=True, text=True, timeout=60, check=False)
        return done.stderr if done.returncode == 0 else ""

    assert "Protocol version: TLSv1.3" in shake()
    assert "Protocol version: TLSv1.2" in shake("-tls1_2")
    assert shake("-tls1_1", "-cipher", "ALL:@SECLEVEL=0") == ""
    assert shake("-tls1_2", "-cipher", "ECDHE+AES128:!AESGCM:!AESCCM") == ""


async def test_websockets_and_event_streams_come_over_https_and_outlive_a_new_certificate(server):
    uri = f"wss://127.0.0.1:{server.port}/api/status/ws"
    before, old = server.serial(), server.context
    async with (
        asyncio.timeout(60),
        websockets.connect(uri, ssl=old, extra_headers=HEADERS) as watcher,
        httpx.AsyncClient(verify=old, timeout=30) as client,
        client.stream("GET", f"{server.url}/api/events", headers=STREAM) as events,
    ):
        assert "manager_state" in await watcher.recv()
        lines = events.aiter_lines()
        assert await _next_data(lines)
        make_certificate(server.ca_file.parent)
        server.process.send_signal(signal.SIGHUP)
        await asyncio.to_thread(until, lambda: _serial_or_none(server) not in (None, before))
        await (await watcher.ping())
        change = {"url": f"{server.url}/api/queue/autostart", "headers": HEADERS, "verify": server.context}
        for enable in (True, False):
            await asyncio.to_thread(lambda enable=enable: httpx.post(**change, json={"enable": enable}, timeout=30))
        assert await _next_data(lines)


async def _next_data(lines):
    async for line in lines:
        if line.startswith("data: "):
            return line
    return ""


def _serial_or_none(server):
    with contextlib.suppress(ssl.SSLError):  # The file that is trusted is the new one.
        return server.serial()
    return None


def test_the_end_is_in_order_over_https_too(instrument, folder):
    with Https(folder, instrument) as server:
        silent = socket.create_connection(("127.0.0.1", server.port), timeout=60)  # It never shakes hands.
        idle = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=60, context=server.context)
        arriving = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=60, context=server.context)
        idle.request("GET", "/api/ping", headers=HEADERS)
        assert idle.getresponse().read()
        arriving.putrequest("GET", "/api/ping")
        for name, value in {**HEADERS, "Content-Length": "2"}.items():
            arriving.putheader(name, value)
        arriving.endheaders()
        server.process.send_signal(signal.SIGTERM)
        until(lambda: not _is_listening(server.port))
        arriving.send(b"{}")
        answer = arriving.getresponse()
        assert (answer.status, answer.headers["Connection"]) == (200, "close")
        assert server.process.wait(30) == 0, server.text
        assert "Traceback" not in server.text
        for connection in (silent, idle, arriving):
            connection.close()


def _is_listening(port):
    with contextlib.suppress(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=20).close()
        return True
    return False


def both_serve(server):
    """Wait until each worker has read its files and found RE Manager."""
    server.wait_for(lambda: server.text.count("Connected to RE Manager") >= 2)


@pytest.mark.slow
def test_all_workers_take_a_renewed_certificate_and_say_when_they_cannot(instrument, folder):
    with Https(folder, instrument, workers=2) as server:
        both_serve(server)
        before = server.serial()
        key = (folder / "key.pem").read_bytes()
        (folder / "key.pem").write_text("nothing")
        stale = '"certificate":"its files changed and cannot be used: the old one is in force"'
        says = [""] * 12
        until(lambda: all(stale in _readyz(server) for _ in says))
        (folder / "key.pem").write_bytes(key)
        until(lambda: all('"certificate":"ok"' in _readyz(server) for _ in says))
        assert {server.serial() for _ in says} == {before}
        make_certificate(folder)
        until(lambda: all(_serial_or_none(server) not in (None, before) for _ in says))
        assert server.stop() == 0, server.text


def _readyz(server):
    return httpx.get(f"{server.url}/readyz", verify=server.context, timeout=20).text


def test_a_server_with_a_broken_certificate_says_so_and_ends(folder):
    make_certificate(folder)
    (folder / "key.pem").write_text("nothing")
    (folder / "config.toml").write_text(FILES)
    server = ServerProcess(folder, "serve", "--config", folder / "config.toml", environment=dict(os.environ))
    assert server.process.wait(60) == 2, server.text
    assert "tls_certificate, tls_key" in server.text
    assert "Traceback" not in server.text


@pytest.mark.slow
def test_a_worker_that_cannot_start_any_more_does_not_end_those_that_serve(instrument, folder):
    with Https(folder, instrument, workers=2) as server:
        both_serve(server)
        key = (folder / "key.pem").read_bytes()
        (folder / "key.pem").write_text("nothing")
        os.kill(min(workers_of(server)), signal.SIGKILL)
        until(lambda: server.text.count("ended with 2") >= 2)
        assert server.answers()
        (folder / "key.pem").write_bytes(key)
        until(lambda: len(workers_of(server)) == 2 and server.answers())
        assert server.stop() == 0, server.text
