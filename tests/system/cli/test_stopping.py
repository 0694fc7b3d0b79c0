"""How a server ends: every SIGTERM is heard, and no request that was sent is cut or broken."""

import contextlib
import http.client
import signal
import socket
import threading
import time

import httpx
import pytest
from ports import free_port
from servers import KEY, ServerProcess, until, with_key
from systemd import Systemd, serving

AWAY = {"QSERVER_ZMQ_CONTROL_ADDRESS": "tcp://127.0.0.1:9", "QSERVER_HTTP_SERVER_SINGLE_USER_API_KEY": KEY}
HEADERS = {"Authorization": f"ApiKey {KEY}"}
MOMENTS = 14
CLIENTS = 6


def configure(folder, text):
    (folder / "config.toml").write_text(text)
    return "serve", "--config", folder / "config.toml"


def raw(port, data=b""):
    """A plain connection, on which these bytes were sent."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.sendall(data)
    return connection


def read_all(connection):
    with connection, connection.makefile("rb") as file:
        return file.read()


def is_refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=30).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.slow
def test_sigterm_ends_the_server_at_every_moment_of_its_start(folder):
    begun = time.monotonic()
    server = ServerProcess(folder, "serve", environment=AWAY)
    server.wait_for(lambda: server.answers("/healthz"))
    took_s = time.monotonic() - begun
    assert server.stop() == 0
    for moment in range(MOMENTS):
        server = ServerProcess(folder, "serve", environment=AWAY)
        time.sleep(took_s * 1.1 * moment / MOMENTS)
        # Before the first line of ours runs, the signal ends Python itself.
        assert server.stop(timeout_s=30) in (0, -signal.SIGTERM), server.text
        assert "Traceback" not in server.text


def test_a_request_that_is_arriving_when_sigterm_comes_is_answered_and_the_last_one_on_its_connection(
    instrument, folder
):
    with ServerProcess(folder, "serve", environment=with_key(instrument)) as server:
        head = (
            f"GET /api/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: ApiKey {KEY}\r\nContent-Length: 2\r\n\r\n"
        )
        half_sent = raw(server.port, head.encode())
        idle = raw(server.port)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: is_refused(server.port))
        half_sent.sendall(b"{}")
        answer = read_all(half_sent)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"\r\nconnection: close\r\n" in answer.lower()
        assert read_all(idle) == b""
        assert server.process.wait(30) == 0, server.text


def test_who_waits_for_a_state_is_answered_when_sigterm_comes(instrument, folder):
    options = configure(folder, "[server]\nshutdown_timeout_s = 60.0\n")
    with ServerProcess(folder, *options, environment=with_key(instrument)) as server:
        replies = []

        def wait():
            url = f"{server.url}/api/status?wait_for=paused&timeout=50"
            replies.append(httpx.get(url, headers=HEADERS, timeout=60))

        waiting = threading.Thread(target=wait)
        waiting.start()
        metrics_of_waits = httpx.get(f"{server.url}/api/status", headers=HEADERS)
        assert metrics_of_waits.status_code == 200
        time.sleep(0.3)  # It is on its way; there is no way to see it wait from outside.
        assert server.stop(timeout_s=40) == 0, server.text
        waiting.join()
    assert replies[0].status_code == 200
    assert replies[0].json()["wait"]["met"] is False


def test_the_drain_is_seen_by_probes_websockets_and_event_streams(instrument, folder):
    options = configure(folder, "[server]\ndrain_delay_s = 2.0\n")
    with ServerProcess(folder, *options, environment=with_key(instrument)) as server:
        handshake = (
            "GET /api/events HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            f"Authorization: ApiKey {KEY}\r\n\r\n"
        )
        watcher = raw(server.port, handshake.encode())
        with (
            httpx.Client(headers=HEADERS, timeout=30) as client,
            client.stream("GET", f"{server.url}/api/events", headers={"Accept": "text/event-stream"}) as events,
        ):
            server.process.send_signal(signal.SIGTERM)
            server.wait_for(lambda: server.answers("/readyz", 503))
            served = client.get(f"{server.url}/api/status")  # a new connection
            assert served.status_code == 200
            assert served.headers["connection"] == "close"
            assert client.get(f"{server.url}/readyz").json()["checks"]["server"] == "it is stopping"
            frames = read_all(watcher)
            text = events.read().decode()
        assert frames.startswith(b"HTTP/1.1 101 ")
        assert b"\x03\xe9The server is stopping" in frames  # a close frame with 1001
        assert text.count("retry: ") == 2
        assert text.rstrip().rpartition("\n")[2].startswith("retry: ")
        assert server.process.wait(30) == 0, server.text


class Load:
    """Clients that ask without pause, on connections that they open anew when they are told that one is closed."""

    def __init__(self, port, *, may_be_refused):
        self.port, self.may_be_refused = port, may_be_refused
        self.answered = self.closed = 0
        self.broken = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop()
        self.join()

    def stop(self):
        self._stop.set()

    def join(self):
        for thread in self._threads:
            thread.join()

    def _connect(self):
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            try:
                connection.connect()
            except ConnectionRefusedError:
                if not self.may_be_refused:
                    raise
                if self._stop.wait(0.05):
                    return None
            else:
                return connection

    def _ask(self):
        while not self._stop.is_set():
            try:
                if (connection := self._connect()) is None:
                    return
                with contextlib.closing(connection):
                    self._ask_on(connection)
            except (OSError, http.client.HTTPException) as error:
                self.broken.append(repr(error))

    def _ask_on(self, connection):
        while not self._stop.is_set():
            connection.request("GET", "/api/status", headers=HEADERS)
            response = connection.getresponse()
            body = response.read()
            if response.status != 200 or not body.endswith(b"}"):
                self.broken.append((response.status, body))
            self.answered += 1
            if response.will_close:
                self.closed += 1
                return


@pytest.mark.slow
def test_restarts_on_a_passed_socket_fail_no_request_and_refuse_no_connection(instrument, folder):
    with (
        socket.create_server(("127.0.0.1", 0), backlog=100) as listener,
        Load(listener.getsockname()[1], may_be_refused=False) as load,
    ):
        for _ in range(3):
            before = load.answered
            with serving(listener, folder, with_key(instrument)):
                until(lambda before=before: load.answered > before + 100, 60)
        load.stop()
        with serving(listener, folder, with_key(instrument)):
            load.join()
    assert load.broken == []
    assert load.closed > 0


@pytest.mark.slow
def test_restarts_break_no_request_of_clients_that_connect_again(instrument, folder):
    port = free_port()
    with Load(port, may_be_refused=True) as load:
        for _ in range(3):
            before = load.answered
            with ServerProcess(folder, "serve", environment=with_key(instrument), port=port) as server:
                server.wait_for(lambda before=before: load.answered > before + 100)
                assert server.stop() == 0, server.text
    assert load.broken == []
    assert load.closed > 0


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_systemd_is_told_that_the_end_may_take_longer_than_its_unit_says(instrument, folder, workers):
    shared = f'[replicas]\nredis = "redis://127.0.0.1:{instrument.redis_port}/11"\n'
    command = configure(folder, f"[server]\nshutdown_timeout_s = 200.0\n{shared}")
    with contextlib.closing(Systemd(folder)) as systemd:
        told = {**with_key(instrument), **systemd.environment}
        server = ServerProcess(folder, *command, "--workers", workers, environment=told)
        systemd.wait_for("READY=1")
        assert server.stop() == 0, server.text
        systemd.wait_for("STOPPING=1\nEXTEND_TIMEOUT_USEC=210000000")
