"""nginx and HAProxy with the configurations of `deploy/`, in front of one server; each also under a path prefix."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess

import httpx
import pytest
from bluesky_queueserver_api.http import REManagerAPI
from conftest import KEY, ROOT, app_of, find_program, needs
from duplex import Duplex
from ports import free_port
from servers import Served, ServerProcess, until, with_key
from watching import Watcher, all_leave

from sanic_qserver.config.settings import load
from system.cli.test_stopping import Load

DEPLOY = ROOT / "deploy"
HEADERS = {"Authorization": f"ApiKey {KEY}"}
CLIENT = "127.0.0.2"
FORGED = {
    "X-Forwarded-For": "203.0.113.9",
    "Forwarded": "for=203.0.113.9;host=evil.example",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Proto": "https",
}
PLAN = {"name": "count", "args": [["det1"]], "item_type": "plan"}


@pytest.fixture(scope="module")
def server(instrument, tmp_path_factory):
    folder = tmp_path_factory.mktemp("behind")
    overrides = {
        "auth": {"single_user_api_key": KEY, "attempts": {"rejected_credentials": 1_000_000}},
        "idempotency": {"store": "memory"},
        "server": {"trusted_proxies": ["127.0.0.1"]},
        "audit": {"file": str(folder / "audit.jsonl")},
    }
    served = Served(app_of(load(environment=instrument.environment, overrides=overrides)))
    served.audit = folder / "audit.jsonl"
    yield served
    served.close()


class Front:
    """A running proxy."""

    def __init__(self, name, folder, upstreams, prefix=""):
        needs(name)
        self.port, self.prefix, self.folder = free_port(), prefix, folder
        self.url = f"http://127.0.0.1:{self.port}{prefix}"
        file = folder / f"{name}.cfg"
        command = getattr(self, f"_{name}")(file, upstreams)
        self._log = folder / f"{name}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen([find_program(name), *command], stdout=log, stderr=log)

    def _nginx(self, file, upstreams):
        text = (DEPLOY / "nginx.conf").read_text()
        text = _replace(text, "listen 8080;", f"listen 127.0.0.1:{self.port};")
        text = _replace(text, "server 127.0.0.1:60610;", "".join(f"server 127.0.0.1:{port};" for port in upstreams))
        if self.prefix:
            text = _replace(text, "location / {", f"location {self.prefix}/ {{")
            text = _replace(text, 'X-Forwarded-Prefix ""', f"X-Forwarded-Prefix {self.prefix}")
        bodies = "".join(f"{one}_temp_path {self.folder}/{one}; " for one in ("proxy", "fastcgi", "uwsgi", "scgi"))
        user = "user root;" if os.geteuid() == 0 else ""
        file.write_text(
            f"daemon off; pid {self.folder}/pid; worker_processes 1; {user} events {{}}\n"
            f"http {{ access_log off; client_body_temp_path {self.folder}/bodies; {bodies}\n{text} }}"
        )
        return "-p", self.folder, "-e", self.folder / "error.log", "-c", file

    def _haproxy(self, file, upstreams):
        text = _replace((DEPLOY / "haproxy.cfg").read_text(), "bind *:8080", f"bind 127.0.0.1:{self.port}")
        text = _replace(text, "maxconn 20000", "maxconn 500")  # More needs more files than a container may allow.
        servers = "\n".join(f"    server s{port} 127.0.0.1:{port}" for port in upstreams)
        text = _replace(text, "    server one 127.0.0.1:60610", servers)
        if self.prefix:
            text = _replace(text, "# http-request set-header X-Forwarded-Prefix /qserver",
                            f"http-request set-header X-Forwarded-Prefix {self.prefix}")  # fmt: skip
        file.write_text(text)
        return "-db", "-f", file

    def answers(self):
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        return False

    def __enter__(self):
        until(self.answers, says=self._log.read_text)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)


def _replace(text, old, new):
    assert text.count(old) == 1, old
    return text.replace(old, new)


@pytest.fixture(scope="module", params=["nginx", "nginx /qserver", "haproxy", "haproxy /qserver"])
def front(request, server, tmp_path_factory):
    name, _, prefix = request.param.partition(" ")
    with Front(name, tmp_path_factory.mktemp(name), [server.port], prefix) as running:
        yield running


@pytest.fixture
def client(front):
    """A client that is not on the proxy's own address, and tells whatever may be believed."""
    transport = httpx.HTTPTransport(local_address=CLIENT)
    with httpx.Client(base_url=front.url, headers=HEADERS | FORGED, transport=transport, timeout=30) as client:
        yield client


def test_the_client_is_who_it_is_and_addresses_are_those_that_it_knows(front, client, server):
    assert client.post("/api/queue/item/add", json={"item": PLAN}).json()["success"]
    assert json.loads(server.audit.read_text().splitlines()[-1])["address"] == CLIENT
    assert client.get("/openapi.json").json()["servers"] == [{"url": front.prefix or "/"}]
    cookies = client.post("/api/auth/cookie").headers.get_list("set-cookie")
    assert cookies
    assert all(f"Path={front.prefix or '/'};" in one and "Secure" not in one for one in cookies)
    nobody = client.get("/api/status", headers={"Authorization": "", "Host": "evil.example"})
    assert nobody.status_code in (401, 421)
    client.cookies.clear()


def test_the_official_client_works_through_it(front):
    api = REManagerAPI(http_server_uri=front.url)
    api.set_authorization_key(api_key=KEY)
    try:
        api.queue_clear()
        assert api.item_add(PLAN)["success"]
        assert len(api.queue_get()["items"]) == 1
    finally:
        api.close()


def test_uploads_of_more_than_a_megabyte_pass(client):
    too_much = {"item": {**PLAN, "meta": {"note": "x" * 3_000_000}}}
    assert client.post("/api/queue/item/add", json=too_much).status_code == 200
    assert client.post("/api/queue/clear").json()["success"]


async def test_events_and_websockets_come_while_they_are_open(front, client):
    with client.stream("GET", "/api/events", headers={"Accept": "text/event-stream"}) as events:
        assert next(line for line in events.iter_lines() if line.startswith("data: "))
    watcher = await Watcher.connect(front.port, f"{front.prefix}/api/status/ws", HEADERS | FORGED)
    assert watcher.status == 101
    assert "manager_state" in await watcher.recv()
    await all_leave()


async def test_lines_that_are_sent_are_answered_while_more_may_come(front, client):
    async with asyncio.timeout(30):
        duplex = Duplex(front.port, front.prefix)
        await duplex.open()
        for number in range(2):
            duplex.send(json.dumps(PLAN).encode() + b"\n")
            assert (await duplex.line())["line"] == number
        duplex.end()
        assert (await duplex.line())["added"] == 2
        duplex.break_off()
        await asyncio.sleep(0)
    assert client.post("/api/queue/clear").json()["success"]


@pytest.mark.slow
def test_a_server_that_stops_behind_haproxy_fails_no_request(instrument, folder):
    (folder / "config.toml").write_text('[server]\ndrain_delay_s = 2.5\ntrusted_proxies = ["127.0.0.1"]\n')
    options = ("serve", "--config", folder / "config.toml")
    with (
        ServerProcess(folder, *options, environment=with_key(instrument)) as one,
        ServerProcess(folder, *options, environment=with_key(instrument)) as two,
        Front("haproxy", folder, [one.port, two.port]) as front,
        Load(front.port, may_be_refused=False) as load,
    ):
        until(lambda: load.answered > 50)
        one.process.send_signal(signal.SIGTERM)
        assert one.process.wait(60) == 0, one.text
        before = load.answered
        until(lambda: load.answered > before + 50)
        load.stop()
        load.join()
        assert load.broken == []
        assert two.process.poll() is None
