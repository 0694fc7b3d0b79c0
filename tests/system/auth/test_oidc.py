"""Logins of an OpenID provider, and its access tokens."""

import asyncio
import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.parse

import httpx
import pytest
from conftest import app_of, needs
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey
from logins import settings
from oidc import issuer, oidc  # noqa: F401  # a fixture
from ports import free_port
from qsctl import program

from sanic_qserver.api.auth import browser_login
from sanic_qserver.auth.providers.openid import OpenIdProvider
from sanic_qserver.config.logins import OidcBearer
from sanic_qserver.errors import ConfigError

CHROMIUM = "/usr/bin/chromium"
POLICY = """
users:
  jane: {roles: user}
groups:
  operators: {roles: user}
claims:
  - {claim: realm_access.roles, matches: staff, roles: expert}
default: {roles: observer}
"""


@pytest.fixture
def serve(sanic_client, make_config, folder):
    async def serve(*providers, **server):
        return await sanic_client(app_of(make_config(**settings(folder, *providers, policy=POLICY), server=server)))

    return serve


async def walk(browser, path, person="jane"):
    """Where the provider sends a browser back to, after the person has logged in there."""
    start = await browser.get(path) if isinstance(path, str) else path
    assert start.status_code in (302, 303), start.text
    there = start.headers["location"]
    async with httpx.AsyncClient() as at_provider:
        done = await at_provider.post(there, data={"sub": person, "action": "authorize"})
    assert done.status_code in (302, 303), done.text
    return done.headers["location"]


AUTHORIZE = "/api/auth/provider/sso/authorize"


async def test_a_browser_logs_in_and_gets_a_refresh_token(serve, issuer):
    browser = await serve(oidc(issuer))
    start = await browser.get(AUTHORIZE)
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(start.headers["location"]).query)
    assert query["code_challenge_method"] == ["S256"]
    assert query["nonce"]
    assert query["redirect_uri"] == [f"{str(browser.base_url).rstrip('/')}/api/auth/provider/sso/code"]
    back = await browser.get(await walk(browser, start))
    assert back.status_code == 200, back.text
    tokens = (await browser.post("/api/auth/session/refresh", json={"refresh_token": back.json()})).json()
    browser.headers["Authorization"] = f"Bearer {tokens['access_token']}"
    who = (await browser.get("/api/auth/whoami")).json()
    assert who["identities"][0] == {**who["identities"][0], "id": "jane", "provider": "sso"}
    assert who["roles"] == ["user"]


async def test_a_page_gets_its_cookies_and_goes_on(serve, issuer):
    browser = await serve(oidc(issuer))
    back = await browser.get(await walk(browser, f"{AUTHORIZE}?next=/docs"))
    assert (back.status_code, back.headers["location"]) == (303, "/docs")
    assert (await browser.get("/api/auth/whoami")).json()["identities"][0]["id"] == "jane"


async def test_below_a_path_prefix_a_login_comes_back_to_it_with_its_own_cookies(serve, issuer):
    browser = await serve(oidc(issuer), root_path="/beamline/qs")
    start = await browser.get(f"/beamline/qs{AUTHORIZE}?next=/beamline/qs/docs")
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(start.headers["location"]).query)
    code = f"{str(browser.base_url).rstrip('/')}/beamline/qs/api/auth/provider/sso/code"
    assert query["redirect_uri"] == [code]
    back = await browser.get(await walk(browser, start))
    assert (back.status_code, back.headers["location"]) == (303, "/beamline/qs/docs")
    assert {cookie.path for cookie in browser.cookies.jar} == {"/beamline/qs"}
    assert (await browser.get("/beamline/qs/api/auth/whoami")).json()["identities"][0]["id"] == "jane"
    device = (await browser.post(f"/beamline/qs{AUTHORIZE}")).json()
    assert device["verification_uri"].endswith("/beamline/qs/api/auth/provider/sso/device_code")


async def test_a_login_leads_to_paths_of_this_server_only(serve, issuer):
    browser = await serve(oidc(issuer))
    for elsewhere in (
        "//evil.example", "https://evil.example", "/\\evil.example", "/\n/evil.example", "/\t/evil.example", "/\r/x",
        "\\\\evil.example", "/docs\\..\\..", "/ /evil.example", "/\x00", "evil.example", " /docs", "/docs\n",
    ):  # fmt: skip
        assert (await browser.get(AUTHORIZE, params={"next": elsewhere})).status_code == 400, elsewhere


async def test_a_login_ends_in_the_browser_that_began_it_and_once(serve, issuer):
    browser = await serve(oidc(issuer))
    back = await walk(browser, AUTHORIZE)
    async with httpx.AsyncClient(base_url=browser.base_url) as victim:
        refused = await victim.get(back)
        assert refused.status_code == 401
        assert refused.json()["detail"].startswith("Authentication failure")
    assert (await browser.get(back)).status_code == 401, "the state is spent, even by a failure"
    again = await walk(browser, AUTHORIZE)
    assert (await browser.get(again)).status_code == 200
    assert (await browser.get(again)).status_code == 401


async def test_a_forged_state_or_code_is_refused(serve, issuer):
    browser = await serve(oidc(issuer))
    code = "/api/auth/provider/sso/code"
    assert (await browser.get(f"{code}?code=x&state=forged")).status_code == 401
    assert (await browser.get(code)).status_code == 401
    back = await walk(browser, AUTHORIZE)
    assert (await browser.get(re.sub(r"code=[^&]+", "code=forged", back))).status_code == 401
    start = await browser.get(AUTHORIZE)
    state = urllib.parse.parse_qs(urllib.parse.urlsplit(start.headers["location"]).query)["state"][0]
    denied = await browser.get(f"{code}?error=access_denied&state={state}&session_state=x")
    assert "access_denied" in denied.json()["detail"]
    seen = await browser.get(f"{code}?error=<b>&state=x", headers={"Accept": "text/html,*/*;q=0.8"})
    assert seen.status_code == 401
    assert seen.headers["content-type"] == "text/html; charset=utf-8"
    assert "Authentication failure" in seen.text
    assert "<b>" not in seen.text


async def test_a_terminal_logs_in_with_a_device_code(serve, issuer):
    terminal = await serve(oidc(issuer))
    started = (await terminal.post(AUTHORIZE, json={})).json()
    assert started["expires_in"] == 600
    token = "/api/auth/provider/sso/token"
    waiting = await terminal.post(token, json={"device_code": started["device_code"]})
    assert waiting.status_code == 400
    assert waiting.json()["detail"] == waiting.json()["error"] == "authorization_pending"
    assert (await terminal.post(token, json={"device_code": "00ff"})).status_code == 404
    assert (await terminal.post(token, json={"device_code": "not hex"})).status_code == 401
    async with httpx.AsyncClient(base_url=terminal.base_url) as browser:
        page = await browser.get(started["authorization_uri"])
        assert started["user_code"] in page.text
        assert page.headers["x-frame-options"] == "DENY"
        wrong = await browser.post(started["verification_uri"], data={"user_code": "<b>BBBB"})
        assert wrong.status_code == 404
        assert "<b>" not in wrong.text
        confirmed = await browser.post(started["verification_uri"], data={"user_code": started["user_code"].lower()})
        done = await browser.get(await walk(browser, confirmed))
        assert "logged in" in done.text
    tokens = await terminal.post(token, json={"device_code": started["device_code"]})
    terminal.headers["Authorization"] = f"Bearer {tokens.json()['access_token']}"
    assert (await terminal.get("/api/auth/whoami")).json()["identities"][0]["id"] == "jane"
    assert (await terminal.post(token, json={"device_code": started["device_code"]})).status_code == 404


async def test_qsctl_logs_in_with_a_device_code(serve, issuer, tmp_path):
    server = await serve(oidc(issuer))
    env = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "QSCTL_KEYRING": "0"}
    login = program("login", str(server.base_url), "--device-code")
    async with asyncio.timeout(60):
        process = await asyncio.create_subprocess_exec(*login, env=env, stderr=subprocess.PIPE)
        told = (await process.stderr.readline()).decode()
        address, code = re.fullmatch(r"Log in at (\S+) with the code (\S+)\n", told).groups()
        async with httpx.AsyncClient(base_url=server.base_url) as browser:
            confirmed = await browser.post(address, data={"user_code": code})
            await browser.get(await walk(browser, confirmed))
        assert await process.wait() == 0, await process.stderr.read()
        asked = await asyncio.create_subprocess_exec(*program("whoami"), env=env, stdout=subprocess.PIPE)
        out, _ = await asked.communicate()
    assert b"sso/jane" in out


HERE = "http://127.0.0.1:54321/a-path-of-the-terminal"
TOKEN = "/api/auth/provider/sso/token"


async def bring(terminal, started):
    """Where the server sends the browser of the person who confirms a terminal's login: the query it brings along."""
    async with httpx.AsyncClient(base_url=terminal.base_url) as browser:
        confirmed = await browser.post(started["verification_uri"], data={"user_code": started["user_code"]})
        back = await browser.get(await walk(browser, confirmed))
    assert (back.status_code, back.headers["referrer-policy"]) == (303, "no-referrer")
    address, _, query = back.headers["location"].partition("?")
    assert address == HERE
    return dict(urllib.parse.parse_qsl(query))


async def test_a_terminal_that_listens_is_brought_a_code_and_no_token(serve, issuer):
    terminal = await serve(oidc(issuer))
    started = (await terminal.post(AUTHORIZE, json={"redirect_uri": HERE})).json()
    device = {"device_code": started["device_code"]}
    assert (await terminal.post(TOKEN, json=device)).json()["field"] == "code"
    brought = await bring(terminal, started)
    assert brought.keys() == {"code"}
    assert (await terminal.post(TOKEN, json=device)).status_code == 400, "what is brought cannot be polled for"
    tokens = await terminal.post(TOKEN, json={**device, **brought})
    terminal.headers["Authorization"] = f"Bearer {tokens.json()['access_token']}"
    assert (await terminal.get("/api/auth/whoami")).json()["identities"][0]["id"] == "jane"
    assert (await terminal.post(TOKEN, json={**device, **brought})).status_code == 404


async def test_what_a_browser_brings_is_worth_nothing_without_the_device_code_and_at_another_address(serve, issuer):
    terminal = await serve(oidc(issuer))
    started, foreign, polled = [
        (await terminal.post(AUTHORIZE, json=body)).json()
        for body in ({"redirect_uri": HERE}, {"redirect_uri": HERE}, {})
    ]
    brought = await bring(terminal, started)
    for device_code, status in ((foreign["device_code"], 401), ("00ff", 404), ("", 404), (polled["device_code"], 400)):
        refused = await terminal.post(TOKEN, json={"device_code": device_code, **brought})
        assert refused.status_code == status, device_code
        assert "access_token" not in refused.text
    good = {"device_code": started["device_code"], **brought}
    elsewhere = httpx.AsyncHTTPTransport(local_address="127.0.0.2")
    async with httpx.AsyncClient(base_url=terminal.base_url, transport=elsewhere) as thief:
        assert (await thief.post(TOKEN, json=good)).status_code == 401
    assert (await terminal.post(TOKEN, json={**good, "code": "forged"})).status_code == 401
    assert (await terminal.post(TOKEN, json=good)).status_code == 200, "nothing of this has spent the code"


async def test_a_code_that_was_brought_is_good_once_and_for_a_minute(serve, issuer, monkeypatch):
    terminal = await serve(oidc(issuer))
    started = (await terminal.post(AUTHORIZE, json={"redirect_uri": HERE})).json()
    good = {"device_code": started["device_code"], **await bring(terminal, started)}
    answers = await asyncio.gather(*(terminal.post(TOKEN, json=good) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers)[:2] == [200, 401]
    monkeypatch.setattr(browser_login, "RETURN_S", -1.0)
    late = (await terminal.post(AUTHORIZE, json={"redirect_uri": HERE})).json()
    brought = await bring(terminal, late)
    assert (await terminal.post(TOKEN, json={"device_code": late["device_code"], **brought})).status_code == 401


async def test_a_login_is_brought_to_this_machine_only(serve, issuer):
    terminal = await serve(oidc(issuer))
    for elsewhere in (
        "https://evil.example/", "http://evil.example:54321/", "http://127.0.0.1.evil.example:54321/",
        "http://127.0.0.1:54321@evil.example/", "http://evil.example#@127.0.0.1:54321/", "http://localhost:54321/",
        "http://10.0.0.1:54321/", "http://127.0.0.1/", "http://127.0.0.1:80/", "http://127.0.0.1:99999/",
        "http://127.0.0.1:54321", "http://127.0.0.1:54321/?code=x", "http://127.0.0.1:54321/\\evil.example",
        "http://127.0.0.1:54321//evil.example", "http://127.0.0.1:54321/\n", "http://0x7f.1:54321/",
        "//127.0.0.1:54321/", "javascript:alert(1)//127.0.0.1:54321/", "http://[::ffff:10.0.0.1]:54321/", "HTTP://127.0.0.1:54321/",
    ):  # fmt: skip
        refused = await terminal.post(AUTHORIZE, json={"redirect_uri": elsewhere})
        assert (refused.status_code, refused.json()["field"]) == (400, "redirect_uri"), elsewhere
    assert (await terminal.post(AUTHORIZE, json={"redirect_uri": "http://[::1]:54321/x"})).status_code == 200


async def test_a_terminal_that_listens_is_told_why_nobody_logged_in(serve, issuer):
    terminal = await serve(oidc(issuer))
    started = (await terminal.post(AUTHORIZE, json={"redirect_uri": HERE})).json()
    async with httpx.AsyncClient(base_url=terminal.base_url) as browser:
        confirmed = await browser.post(started["verification_uri"], data={"user_code": started["user_code"]})
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(confirmed.headers["location"]).query)
        back = await browser.get(
            "/api/auth/provider/sso/code", params={"error": "access_denied", "state": query["state"][0]}
        )
    address, _, told = back.headers["location"].partition("?")
    assert address == HERE
    assert urllib.parse.parse_qs(told)["error"] == ["access_denied"]
    assert (await terminal.post(TOKEN, json={"device_code": started["device_code"], "code": "x"})).status_code == 401


# A browser in place of a person's: it sees what they see, sends off the form, and logs in as jane.
_FOLLOWER = """
import re, sys, urllib.parse, httpx
with httpx.Client() as browser:
    page = browser.get(sys.argv[1])
    code = re.search(r'name="user_code" value="([^"]+)"', page.text)[1]
    there = browser.post(urllib.parse.urljoin(sys.argv[1], "device_code"), data={"user_code": code})
    there = there.headers["location"]
    if sys.argv[2:] == ["deny"]:  # The mock provider leaves the state out here.
        asked = urllib.parse.parse_qs(urllib.parse.urlsplit(there).query)
        back = f"{asked['redirect_uri'][0]}?error=access_denied&state={asked['state'][0]}"
    else:
        back = httpx.post(there, data={"sub": "jane", "action": "authorize"}).headers["location"]
    loopback = browser.get(back).headers["location"]
    idle = httpx.get(urllib.parse.urljoin(loopback, "/favicon.ico?code=x"))
    assert idle.status_code == 404, idle
    assert "Go back to your terminal" in httpx.get(loopback).text
"""


async def logging_in(server, folder, browser):
    """`qsctl login` with a browser: its exit code and what it says."""
    clean = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")}
    env = {**clean, "XDG_STATE_HOME": str(folder), "QSCTL_KEYRING": "0", **browser}
    async with asyncio.timeout(60):
        login = program("login", str(server.base_url))
        process = await asyncio.create_subprocess_exec(*login, env=env, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
        out, err = await process.communicate()
    return process.returncode, (out + err).decode(), env


@pytest.fixture
def follower(tmp_path):
    (tmp_path / "follower.py").write_text(_FOLLOWER)
    return f"{sys.executable} {tmp_path / 'follower.py'} %s"


async def test_qsctl_logs_in_with_the_browser_of_this_machine(serve, issuer, tmp_path, follower):
    server = await serve(oidc(issuer))
    code, said, env = await logging_in(server, tmp_path, {"BROWSER": follower})
    assert code == 0, said
    assert "and shows the code" in said
    asked = await asyncio.create_subprocess_exec(*program("whoami"), env=env, stdout=subprocess.PIPE)
    out, _ = await asked.communicate()
    assert b"sso/jane" in out


async def test_qsctl_says_why_a_browser_did_not_log_in(serve, issuer, tmp_path, follower):
    server = await serve(oidc(issuer))
    code, said, _ = await logging_in(server, tmp_path, {"BROWSER": f"{follower} deny"})
    assert code == 3, said
    assert "access_denied" in said
    assert list((tmp_path / "qsctl").glob("profile-*")) == []


async def test_qsctl_without_a_screen_says_what_to_do_and_waits_for_the_code(serve, issuer, tmp_path):
    server = await serve(oidc(issuer))
    clean = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")}
    env = {**clean, "XDG_STATE_HOME": str(tmp_path), "QSCTL_KEYRING": "0"}
    login = program("login", str(server.base_url))
    async with asyncio.timeout(60):
        process = await asyncio.create_subprocess_exec(*login, env=env, stderr=subprocess.PIPE)
        assert b"No browser can be opened here" in await process.stderr.readline()
        told = (await process.stderr.readline()).decode()
        address, code = re.fullmatch(r"Log in at (\S+) with the code (\S+)\n", told).groups()
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
    assert address == f"{str(server.base_url).rstrip('/')}/api/auth/provider/sso/device_code"
    assert re.fullmatch("[A-Z]{4}-[A-Z]{4}", code)


async def test_the_api_tells_how_to_log_in(serve, issuer):
    about = (await (await serve(oidc(issuer))).get("/api/")).json()
    provider = about["authentication"]["providers"][0]
    assert provider["mode"] == "external"
    assert provider["links"]["authorize"] == AUTHORIZE


async def test_a_provider_that_is_away_is_503(serve):
    client = await serve(oidc(f"http://localhost:{free_port()}"))
    assert (await client.get(AUTHORIZE)).status_code == 503


class Keys:
    """A provider that says what a test wants: a fault, or a new key, cannot be had from a good one."""

    def __init__(self):
        self.key = RSAKey.generate_key(2048, {"kid": "first"})
        self.fetched = 0
        self.issuer = self.stated = f"http://127.0.0.1:{free_port()}"

    def documents(self):
        return {
            "/.well-known/openid-configuration": {"issuer": self.stated, "jwks_uri": f"{self.issuer}/keys"},
            "/keys": KeySet([self.key]).as_dict(private=False),
        }

    def token(self, key=None, alg="RS256", **claims):
        now = int(time.time())
        body = {"iss": self.issuer, "aud": "queue", "sub": "jane", "preferred_username": "jane", "iat": now,
                "exp": now + 60, "scope": "queue.read openid", "realm_access": {"roles": ["staff"]}}  # fmt: skip
        key = key or self.key
        sent = {name: value for name, value in {**body, **claims}.items() if value is not None}
        return jwt.encode({"alg": alg, "kid": key.kid or "first"}, sent, key, algorithms=[alg])


@pytest.fixture
def facility():
    keys = Keys()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            keys.fetched += self.path == "/keys"
            body = json.dumps(keys.documents()[self.path]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", int(keys.issuer.rsplit(":", 1)[1])), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield keys
        server.shutdown()
        thread.join()


def bearer(keys, **more):
    return {"kind": "oidc_bearer", "name": "facility", "issuer": keys.issuer, "audience": "queue", **more}


async def status(client, token):
    response = await client.get("/api/queue/get", headers={"Authorization": f"Bearer {token}"})
    return response.status_code, response.json().get("detail", "")


async def test_a_token_of_the_facility_opens_what_its_claims_grant(serve, facility):
    client = await serve(bearer(facility))
    client.headers["Authorization"] = f"Bearer {facility.token()}"
    who = (await client.get("/api/auth/whoami")).json()
    assert sorted(who["roles"]) == ["expert", "user"]
    assert (await client.get("/api/queue/get")).status_code == 200
    assert facility.fetched == 1


async def test_a_scopes_claim_limits_the_token(serve, facility):
    limits = {"scopes_claim": "scope", "scopes_map": {"queue.read": ["read:queue", "read:status"]}}
    client = await serve(bearer(facility, **limits))
    assert (await status(client, facility.token()))[0] == 200
    assert (await status(client, facility.token(scope="openid")))[0] == 403
    assert (await status(client, facility.token(scope=None)))[0] == 403


async def test_a_facility_token_that_is_not_good_is_refused(serve, facility):
    client = await serve(bearer(facility, clock_skew_s=5))
    bad = (401, "Could not validate credentials")
    now = int(time.time())
    assert await status(client, facility.token(aud="other")) == bad
    assert await status(client, facility.token(aud=None)) == bad
    assert await status(client, facility.token(iss="https://other.example")) == bad
    assert await status(client, facility.token(nbf=now + 600)) == bad
    assert await status(client, facility.token(exp=None)) in (bad, (401, "Access token has expired. Refresh token."))
    assert (await status(client, facility.token(exp=now - 60)))[1].startswith("Access token has expired")
    assert (await status(client, facility.token(exp=now - 2)))[0] == 200, "the clocks may differ a little"
    assert await status(client, facility.token(key=RSAKey.generate_key(2048, {"kid": "first"}))) == bad
    assert await status(client, facility.token(key=ECKey.generate_key("P-256", {"kid": "first"}), alg="ES256")) == bad
    confused = OctKey.import_key(facility.key.as_pem(private=False).hex(), {"kid": "first"})
    assert await status(client, facility.token(key=confused, alg="HS256")) == bad
    head, body, signature = facility.token().split(".")
    assert await status(client, f"{head}.{body}.") == bad
    none = "eyJhbGciOiJub25lIn0"
    assert await status(client, f"{none}.{body}.") == bad
    assert await status(client, f"{head}.{body}.{signature[:-6]}AAAAAA") == bad


async def test_new_keys_of_the_provider_are_fetched(serve, facility, monkeypatch):
    client = await serve(bearer(facility))
    assert (await status(client, facility.token()))[0] == 200
    old = facility.key
    facility.key = RSAKey.generate_key(2048, {"kid": "second"})
    provider = next(one for one in client.app.ctx.gate.providers.providers if getattr(one, "name", "") == "facility")
    assert (await status(client, facility.token()))[0] == 401, "not more often than every half minute"
    provider.provider._keys_at -= 60
    assert (await status(client, facility.token()))[0] == 200
    fetched = facility.fetched
    for _ in range(5):
        await status(client, facility.token(key=RSAKey.generate_key(2048, {"kid": "third"})))
    assert facility.fetched == fetched
    assert (await status(client, facility.token(key=old, jti="x")))[0] == 401


async def test_a_discovery_document_of_another_issuer_is_not_believed(serve, facility):
    facility.stated = "https://other.example"
    client = await serve(bearer(facility))
    assert (await status(client, facility.token()))[0] == 503


def test_symmetric_algorithms_are_a_mistake():
    for algorithms in (("HS256",), ("none",), ()):
        config = OidcBearer(name="x", issuer="https://x", audience="y", algorithms=algorithms)
        with pytest.raises(ConfigError, match="algorithms"):
            OpenIdProvider(config)


async def log_in_qsctl(page, server, folder):
    """`qsctl login`, whose browser is this page."""
    opened = folder / "opened"
    browser = (
        f"{sys.executable} -c 'import pathlib, sys; pathlib.Path(sys.argv[1]).write_text(sys.argv[2])' {opened} %s"
    )
    login = asyncio.create_task(logging_in(server, folder, {"BROWSER": browser}))
    while not opened.exists() or not opened.read_text():
        await asyncio.sleep(0.1)
    await page.goto(opened.read_text())
    await page.click("button")
    await page.fill("input[name=sub]", "jane")
    await page.click("form:has(input[name=sub]) button[type=submit]")
    await page.wait_for_selector("text=Go back to your terminal")
    code, said, _ = await login
    assert code == 0, said


async def test_a_terminals_login_is_walked_in_chromium(serve, issuer, tmp_path):
    needs(CHROMIUM)
    from playwright.async_api import async_playwright

    terminal = await serve(oidc(issuer))
    started = (await terminal.post(AUTHORIZE, json={})).json()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = await browser.new_page()
        await page.goto(started["verification_uri"])
        await page.fill("input[name=user_code]", started["user_code"])
        await page.click("button")
        await page.fill("input[name=sub]", "jane")
        await page.click("form:has(input[name=sub]) button[type=submit]")
        await page.wait_for_selector("text=You are logged in")
        refused = await page.goto(f"{str(terminal.base_url).rstrip('/')}/api/auth/provider/sso/code?state=old&code=x")
        assert refused.status == 401
        assert "Authentication failure" in await page.text_content("body")
        await page.goto(f"{str(terminal.base_url).rstrip('/')}/api/auth/provider/sso/authorize?next=/docs")
        await page.fill("input[name=sub]", "jane")
        await page.click("form:has(input[name=sub]) button[type=submit]")
        await page.wait_for_url("**/docs")
        await page.context.clear_cookies()
        await log_in_qsctl(page, terminal, tmp_path)
        await browser.close()
    tokens = await terminal.post("/api/auth/provider/sso/token", json={"device_code": started["device_code"]})
    assert tokens.status_code == 200
