"""Who may come in at all: names of this server, pages of other sites, and what a credential is worth later on."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from conftest import KEY, app_of
from logins import log_in, settings
from watching import Closed, Watcher

import sanic_qserver
from sanic_qserver.api.auth.cookies import CSRF_COOKIE
from sanic_qserver.auth.tokens import begun
from sanic_qserver.auth.tokens.begun import BegunLogins
from sanic_qserver.errors import TooManyRequests

OPEN = 'roles: {unauthenticated_public: {scopes: ["read:*", "write:*"]}}'
STOP = "/api/queue/autostart"
RELOAD = "/api/permissions/reload"
MAKES_A_CALL = re.compile(r"(?<![\w.])(?<!class )Call\(").search
EVIL = "http://evil.example"


@pytest.fixture
def serve_open(sanic_client, make_config, folder):
    """Servers on which anonymous callers may do everything."""

    async def serve(**server):
        (folder / "open.yaml").write_text(OPEN)
        return await sanic_client(app_of(make_config(policy={"permissions": str(folder / "open.yaml")}, server=server)))

    return serve


async def test_a_page_that_points_its_own_name_here_gets_nothing(serve_open):
    client = await serve_open()
    rebound = {"Host": f"evil.example:{client.port}", "Origin": f"http://evil.example:{client.port}"}
    item = {"item": {"name": "count", "args": [["det1"]], "item_type": "plan"}}
    for path, body in (
        ("/api/queue/item/add", item),
        ("/api/script/upload", {"script": "x"}),
        (STOP, {"enable": True}),
    ):
        answer = await client.post(path, json=body, headers=rebound)
        assert answer.status_code == 421
        assert "[server] allowed_hosts" in answer.json()["detail"]
    for path in ("/api/status", "/api/queue/get", "/api/console_output", "/api/stream_console_output"):
        assert (await client.get(path, headers={"Host": "evil.example"})).status_code == 421
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(
        b"GET /api/status/ws HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://evil.example\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    answer = await reader.readuntil(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert (await reader.readexactly(1))[0] & 15 == 8, "no frame but the one that closes"
    writer.close()


async def test_names_of_this_server_addresses_and_probes_are_answered(serve_open):
    client = await serve_open(
        allowed_hosts=["qs.beamline.example", ".lab.example"], allow_origins=["https://ui.example"]
    )
    ours = ["localhost", "LOCALHOST:8000", "qserver.localhost", "127.0.0.1", "[::1]:60610", "10.1.2.3:80",
            "qs.beamline.example", "qs.beamline.example.:443", "a.b.lab.example", "ui.example"]  # fmt: skip
    for host in ours:
        assert (await client.get("/api/status", headers={"Host": host})).status_code == 200, host
    for host in ("beamline.example", "evil-lab.example", "localhost.evil.example", "127.0.0.1.evil.example", "a b"):
        assert (await client.get("/api/status", headers={"Host": host})).status_code in (400, 421), host
    for path in ("/healthz", "/readyz", "/docs"):
        assert (await client.get(path, headers={"Host": "anything.example"})).status_code == 200
    key = {"Authorization": f"ApiKey {KEY}", "Host": "anything.example"}
    assert (await client.get("/api/status", headers=key)).status_code == 200


async def test_behind_a_proxy_the_name_is_the_forwarded_one(serve_open):
    client = await serve_open(proxies_count=1, allowed_hosts=["qs.example"])
    forwarded = {"X-Forwarded-For": "10.0.0.1", "X-Forwarded-Host": "qs.example", "Host": "backend"}
    assert (await client.get("/api/status", headers=forwarded)).status_code == 200
    forwarded["X-Forwarded-Host"] = "evil.example"
    assert (await client.get("/api/status", headers=forwarded)).status_code == 421


async def test_what_a_get_changes_needs_proof_too(sanic_client, make_config, folder, serve_open):
    browser = await sanic_client(app_of(make_config(**settings(folder))))
    await log_in(browser, "alice", cookie="true")
    key = browser.headers.pop("Authorization")
    assert (await browser.get(RELOAD)).status_code == 403
    assert (await browser.get(RELOAD, headers={"X-CSRF": browser.cookies[CSRF_COOKIE]})).status_code == 200
    browser.cookies.clear()
    assert (await browser.get(RELOAD, headers={"Authorization": key})).status_code == 200
    anonymous = await serve_open()
    for sign in ({"User-Agent": "Mozilla/5.0 (X11)"}, {"Sec-Fetch-Site": "cross-site"}, {"Referer": EVIL}):
        assert (await anonymous.get(RELOAD, headers=sign)).status_code == 403, "an image of any page could do this"
    assert (await anonymous.get(RELOAD)).status_code == 200, "a program, as in the manual of 0.0.4"
    assert (await anonymous.get(RELOAD, headers={"Origin": EVIL})).status_code == 403
    assert (await anonymous.get(RELOAD, headers={"Origin": str(anonymous.base_url).rstrip("/")})).status_code == 200
    assert (await anonymous.post(RELOAD)).status_code == 200


async def test_any_origin_never_counts_for_cookies(sanic_client, make_config, folder):
    browser = await sanic_client(app_of(make_config(**settings(folder), server={"allow_origins": ["*"]})))
    await log_in(browser, "bob", cookie="true")
    del browser.headers["Authorization"]
    headers = {"X-CSRF": browser.cookies[CSRF_COOKIE]}
    assert (await browser.post(STOP, json={"enable": False}, headers=headers)).status_code == 200
    assert (await browser.post(STOP, json={"enable": False}, headers={**headers, "Origin": EVIL})).status_code == 403
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    watcher = await Watcher.connect(browser.port, "/api/status/ws", {"Cookie": cookie, "Origin": EVIL})
    with pytest.raises(Closed) as closed:
        await watcher.recv(4)
    assert closed.value.args[0] == 4403
    ours = await Watcher.connect(
        browser.port, "/api/status/ws", {"Cookie": cookie, "Origin": f"http://127.0.0.1:{browser.port}"}
    )
    assert "status" in json.loads(await ours.recv(4))["msg"]


async def test_any_origin_counts_for_what_everybody_may_and_is_warned_of(serve_open):
    client = await serve_open(allow_origins=["*"])
    assert (await client.post(STOP, json={"enable": False}, headers={"Origin": EVIL})).status_code == 200
    assert [text for text in client.app.ctx.services.warnings if "allow_origins" in text]


async def test_warnings_are_for_those_who_run_the_server(client, anonymous):
    client.app.ctx.services.warnings.append("/etc/qserver/permissions.yaml: user 'alice' has no such role")
    assert "alice" in (await client.get("/readyz")).json()["warnings"][-1]
    for headers in ({}, {"Authorization": "ApiKey wrong"}):
        public = await anonymous.get("/readyz", headers=headers)
        assert public.status_code == 200
        assert set(public.json()) == {"status", "checks", "warning_count"}
        assert public.json()["warning_count"] == 1
        assert "alice" not in public.text


async def test_a_key_without_its_word_is_never_repeated(client, monkeypatch):
    entries = []
    monkeypatch.setattr(client.app.ctx.gate.audit, "record", entries.append)
    secret = "c0ffee" * 8
    for header in (secret, f"{secret} x", f"Key-{secret}", f"{secret[:10]}:{secret}"):
        answer = await client.get("/api/queue/get", headers={"Authorization": header})
        assert answer.status_code == 401
        assert "ApiKey" in answer.json()["detail"]
        assert secret[:10] not in answer.text.lower()
    assert secret[:10] not in repr(entries).lower()
    basic = await client.get("/api/queue/get", headers={"Authorization": "Basic eDp5"})
    assert "'basic'" in basic.json()["detail"]


async def test_a_websocket_that_authenticates_by_its_first_message_is_no_denial(client, monkeypatch):
    entries = []
    monkeypatch.setattr(client.app.ctx.gate.audit, "record", entries.append)
    watcher = await Watcher.connect(client.port, "/api/status/ws", {})
    watcher.send(json.dumps({"type": "auth", "api_key": KEY}))
    assert "status" in json.loads(await watcher.recv(4))["msg"]
    assert entries == []
    watcher = await Watcher.connect(client.port, "/api/status/ws", {})
    watcher.send("something else")
    with pytest.raises(Closed):
        await watcher.recv(4)
    assert [(entry.outcome, entry.status) for entry in entries] == [("denied", 401)]


async def test_a_revoked_key_writes_no_further_line_of_a_bulk_stream(sanic_client, make_config, folder):
    client = await sanic_client(app_of(make_config(**settings(folder))))
    await log_in(client, "bob")
    key = (await client.post("/api/auth/apikey", json={"expires_in": 600})).json()
    line = json.dumps({"name": "count", "args": [["det1"]], "item_type": "plan"}).encode() + b"\n"
    chunk = b"%x\r\n%b\r\n" % (len(line), line)
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(
        b"POST /api/queue/item/add/stream HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
        b"Authorization: ApiKey " + key["secret"].encode() + b"\r\n\r\n" + chunk
    )
    await reader.readuntil(b'"success":true')
    gone = await client.delete("/api/auth/apikey", params={"first_eight": key["first_eight"]})
    assert gone.status_code == 200, gone.text
    writer.write(chunk)
    last = await reader.readuntil(b'"done":')
    assert b'"success"' not in last
    assert (await reader.readuntil(b"\n")).startswith(b"false")
    writer.close()


def test_begun_logins_are_bounded_by_address_and_in_all(monkeypatch):
    now = [0.0]
    logins = BegunLogins(lambda: now[0], keep_s=10)
    monkeypatch.setattr(begun, "MOST", 5)
    monkeypatch.setattr(begun, "MOST_PER_ADDRESS", 3)
    for _ in range(3):
        logins.begin("one")
    with pytest.raises(TooManyRequests):
        logins.begin("one")
    logins.begin("two")
    logins.begin("three")
    with pytest.raises(TooManyRequests) as refused:
        logins.begin("four")
    assert refused.value.headers["Retry-After"] == "10"
    now[0] = 10.0
    logins.begin("one")
    assert len(logins._by_address) == 1


def test_only_the_gate_makes_calls():
    root = Path(sanic_qserver.__file__).parent
    makers = {str(file.relative_to(root)) for file in root.rglob("*.py") if MAKES_A_CALL(file.read_text("utf-8"))}
    assert makers == {"http/gate.py"}
