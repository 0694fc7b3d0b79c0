"""Browsers: cookies, CSRF, foreign pages, CORS; and that programs see none of it."""

import httpx
import pytest
from conftest import KEY, app_of
from logins import log_in, settings

from sanic_qserver.api.auth.cookies import CSRF_COOKIE, SESSION_COOKIE

OURS = "http://dashboard.example"
PLAN = {"item": {"name": "count", "args": [["det1"]], "item_type": "plan"}}


@pytest.fixture
async def visitor(sanic_client, make_config, folder):
    return await sanic_client(app_of(make_config(**settings(folder), server={"allow_origins": [OURS]})))


@pytest.fixture
async def browser(visitor):
    """A client that has logged in with a form, and holds cookies only."""
    await log_in(visitor, "bob", cookie="true")
    del visitor.headers["Authorization"]
    return visitor


def attributes(response, name):
    return next(one for one in response.headers.get_list("set-cookie") if one.startswith(f"{name}="))


async def test_the_session_cookie_is_out_of_reach_for_scripts(visitor):
    form = {"username": "bob", "password": "builder-2", "cookie": "true"}
    response = await visitor.post("/api/auth/provider/toy/token", data=form)
    session, csrf = attributes(response, SESSION_COOKIE), attributes(response, CSRF_COOKIE)
    assert "HttpOnly" in session
    assert "SameSite=Lax" in session
    assert "Secure" not in session
    assert "HttpOnly" not in csrf


async def test_cookies_are_for_tls_when_the_proxy_says_so(sanic_client, make_config, folder):
    client = await sanic_client(app_of(make_config(**settings(folder), server={"proxies_count": 1})))
    form = {"username": "bob", "password": "builder-2", "cookie": "true"}
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "10.0.0.1"}
    response = await client.post("/api/auth/provider/toy/token", data=form, headers=headers)
    assert "Secure" in attributes(response, SESSION_COOKIE)


async def test_a_cookie_reads_without_more(browser):
    assert (await browser.get("/api/queue/get")).status_code == 200
    assert (await browser.get("/api/auth/whoami")).json()["identities"][0]["id"] == "bob"


@pytest.mark.parametrize("headers", [{}, {"X-CSRF": "wrong"}, {"X-CSRF": ""}])
async def test_a_cookie_alone_changes_nothing(browser, headers):
    response = await browser.post("/api/queue/autostart", json={"enable": False}, headers=headers)
    assert response.status_code == 403
    assert response.headers["content-type"] == "application/problem+json"
    assert "X-CSRF" in response.json()["detail"]


async def test_a_cookie_with_the_csrf_value_changes(browser):
    headers = {"X-CSRF": browser.cookies[CSRF_COOKIE]}
    response = await browser.post("/api/queue/autostart", json={"enable": False}, headers=headers)
    assert response.json()["success"], response.text


async def test_the_csrf_value_of_another_session_does_not_fit(browser, visitor):
    async with httpx.AsyncClient(base_url=browser.base_url) as other:
        form = {"username": "bob", "password": "builder-2", "cookie": "true"}
        await other.post("/api/auth/provider/toy/token", data=form)
        headers = {"X-CSRF": other.cookies[CSRF_COOKIE]}
    assert (await browser.post("/api/queue/autostart", json={"enable": False}, headers=headers)).status_code == 403


async def test_another_sites_page_changes_nothing_even_with_everything(browser):
    headers = {"X-CSRF": browser.cookies[CSRF_COOKIE], "Origin": "https://evil.example"}
    assert (await browser.post("/api/queue/autostart", json={"enable": False}, headers=headers)).status_code == 403
    for good in (OURS, str(browser.base_url).rstrip("/")):
        headers["Origin"] = good
        assert (await browser.post("/api/queue/autostart", json={"enable": False}, headers=headers)).status_code == 200


async def test_logout_takes_the_cookies_away_and_ends_the_session(browser):
    value = browser.cookies[SESSION_COOKIE]
    response = await browser.post("/api/auth/logout", headers={"X-CSRF": browser.cookies[CSRF_COOKIE]})
    assert "Max-Age=0" in attributes(response, SESSION_COOKIE)
    async with httpx.AsyncClient(base_url=browser.base_url, cookies={SESSION_COOKIE: value}) as other:
        assert (await other.get("/api/auth/whoami")).status_code == 401


async def test_a_tampered_cookie_is_refused(browser):
    value = browser.cookies[SESSION_COOKIE]
    for bad in (value[:-3] + "AAA", "x", value + "x"):
        async with httpx.AsyncClient(base_url=browser.base_url, cookies={SESSION_COOKIE: bad}) as other:
            assert (await other.get("/api/queue/get")).status_code == 401


async def test_who_sends_a_key_or_token_gets_no_cookie(visitor):
    await log_in(visitor, "bob")
    for path in ("/api/status", "/api/auth/whoami", "/api/queue/get"):
        assert "set-cookie" not in (await visitor.get(path)).headers
    key = (await visitor.post("/api/auth/apikey", json={"expires_in": 60})).json()["secret"]
    del visitor.headers["Authorization"]
    assert "set-cookie" not in (await visitor.get(f"/api/queue/get?api_key={key}")).headers


async def test_a_token_is_turned_into_a_cookie_of_the_same_session(visitor):
    await log_in(visitor, "bob")
    session = (await visitor.get("/api/auth/whoami")).json()["session"]
    reply = (await visitor.post("/api/auth/cookie")).json()
    del visitor.headers["Authorization"]
    assert reply["csrf_token"] == visitor.cookies[CSRF_COOKIE]
    assert (await visitor.get("/api/auth/whoami")).json()["session"] == session


async def test_an_api_key_is_not_turned_into_a_session(visitor):
    await log_in(visitor, "bob")
    key = (await visitor.post("/api/auth/apikey", json={"expires_in": 60, "scopes": ["read:status"]})).json()["secret"]
    visitor.headers["Authorization"] = f"ApiKey {key}"
    assert (await visitor.post("/api/auth/cookie")).status_code == 403


async def test_the_one_key_of_a_server_without_logins_gives_a_cookie(client):
    reply = (await client.post("/api/auth/cookie")).json()
    del client.headers["Authorization"]
    assert (await client.get("/api/queue/get")).status_code == 200
    refused = await client.post("/api/queue/autostart", json={"enable": False})
    assert refused.status_code == 403
    headers = {"X-CSRF": reply["csrf_token"]}
    assert (await client.post("/api/queue/autostart", json={"enable": False}, headers=headers)).status_code == 200
    value = client.cookies[SESSION_COOKIE]
    client.cookies.clear()
    later = value.replace(value.split(".")[0], "9999999999")
    async with httpx.AsyncClient(base_url=client.base_url, cookies={SESSION_COOKIE: later}) as other:
        assert (await other.get("/api/queue/get")).status_code == 401


async def test_another_sites_page_cannot_use_what_the_anonymous_may(sanic_client, make_config, folder):
    """On a laptop without a key, any page that its user visits could send requests to localhost."""
    policy = folder / "open.yaml"
    policy.write_text('roles: {unauthenticated_public: {scopes: ["read:*", "write:*"]}}')
    client = await sanic_client(app_of(make_config(policy={"permissions": str(policy)})))
    evil = {"Origin": "https://evil.example", "Content-Type": "text/plain"}
    response = await client.post("/api/queue/autostart", content='{"enable": false}', headers=evil)
    assert response.status_code == 403
    assert (await client.post("/api/queue/autostart", json={"enable": False})).status_code == 200


async def test_cors_names_the_headers_and_allows_credentials(visitor):
    preflight = await visitor.options(
        "/api/queue/item/add",
        headers={
            "Origin": OURS,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type,x-csrf",
        },
    )
    assert preflight.headers["access-control-allow-origin"] == OURS
    assert preflight.headers["access-control-allow-credentials"] == "true"
    allowed = preflight.headers["access-control-allow-headers"].lower()
    assert all(name in allowed for name in ("authorization", "content-type", "x-csrf"))
    assert "POST" in preflight.headers["access-control-allow-methods"]
    reply = await visitor.get("/api/status", headers={"Origin": OURS})
    assert reply.headers["access-control-allow-origin"] == OURS
    assert "x-request-id" in reply.headers["access-control-expose-headers"].lower()
    refused = await visitor.get("/api/queue/get", headers={"Origin": OURS})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == OURS
    foreign = await visitor.get("/api/status", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in foreign.headers


async def test_replies_are_not_sniffed_and_secrets_not_kept(visitor):
    form = {"username": "bob", "password": "builder-2"}
    login = await visitor.post("/api/auth/provider/toy/token", data=form)
    assert login.headers["cache-control"] == "no-store"
    for path in ("/api/status", "/api/queue/get", "/api/nothing"):
        assert (await visitor.get(path)).headers["x-content-type-options"] == "nosniff"


async def test_the_key_is_in_no_reply(client):
    for path in ("/api/", "/api/auth/whoami", "/api/auth/apikey", "/api/auth/scopes", "/readyz"):
        assert KEY not in (await client.get(path)).text
