"""Websockets: every way to carry a credential, and who is turned away, with which code."""

import asyncio
import json

import pytest
from conftest import app_of
from logins import log_in, settings
from watching import Closed, Watcher

from sanic_qserver.http.stream import websocket_auth

PATH = "/api/status/ws"
OURS = "http://dashboard.example"


@pytest.fixture
async def visitor(sanic_client, make_config, folder):
    client = await sanic_client(app_of(make_config(**settings(folder), server={"allow_origins": [OURS]})))
    client.tokens = await log_in(client, "bob")
    return client


@pytest.fixture
async def key(visitor):
    return (await visitor.post("/api/auth/apikey", json={"expires_in": 60})).json()["secret"]


async def watching(visitor, query="", message=None, **headers):
    """A watcher that gets frames. Raises Closed."""
    watcher = await Watcher.connect(visitor.port, PATH + query, {k.replace("_", "-"): v for k, v in headers.items()})
    assert watcher.status == 101
    if message:
        watcher.send(json.dumps({"type": "auth", **message}))
    assert "status" in json.loads(await watcher.recv(4))["msg"]
    return watcher


async def code(visitor, *args, **headers):
    with pytest.raises(Closed) as closed:
        await watching(visitor, *args, **headers)
    return closed.value.args[0]


async def ticket(visitor):
    return (await visitor.post("/api/auth/ticket")).json()["ticket"]


async def test_a_key_or_token_may_come_in_header_query_subprotocol_or_first_message(visitor, key):
    token = visitor.tokens["access_token"]
    await watching(visitor, Authorization=f"APIKEY {key}")
    await watching(visitor, Authorization=f"bearer {token}")
    await watching(visitor, f"?api_key={key}")
    await watching(visitor, f"?access_token={token}")
    await watching(visitor, message={"api_key": key})
    await watching(visitor, message={"access_token": token})
    for kind, value in (("api-key", key), ("access-token", token), ("ticket", await ticket(visitor))):
        watcher = await watching(visitor, Sec_WebSocket_Protocol=f"qserver, qserver.{kind}.{value}")
        assert "sec-websocket-protocol: qserver\r\n" in watcher.head.lower()
        assert value not in watcher.head


async def test_a_ticket_opens_one_websocket_once(visitor):
    for carry in (lambda value: (f"?ticket={value}",), lambda value: ("", {"ticket": value})):
        value = await ticket(visitor)
        await watching(visitor, *carry(value))
        assert await code(visitor, *carry(value)) == 4001


async def test_a_ticket_opens_nothing_else(visitor):
    value = await ticket(visitor)
    del visitor.headers["Authorization"]
    assert (await visitor.get(f"/api/queue/get?ticket={value}")).status_code == 401


async def test_a_ticket_ends_soon(sanic_client, make_config, folder):
    client = await sanic_client(app_of(make_config(**settings(folder, browsers={"ticket_s": 0.2}))))
    await log_in(client, "bob")
    value = await ticket(client)
    await asyncio.sleep(0.4)
    assert await code(client, f"?ticket={value}") == 4001


async def test_a_ticket_has_the_limits_of_the_key_that_asked_for_it(visitor):
    limited = {"expires_in": 60, "scopes": ["read:queue"]}
    secret = (await visitor.post("/api/auth/apikey", json=limited)).json()["secret"]
    visitor.headers["Authorization"] = f"ApiKey {secret}"
    assert await code(visitor, f"?ticket={await ticket(visitor)}") == 4403


@pytest.mark.parametrize(
    "headers", [{"Authorization": "ApiKey wrong"}, {"Authorization": "Bearer a.b.c"}, {"Authorization": "Basic eDp5"}]
)
async def test_a_bad_credential_is_4001(visitor, headers):
    assert await code(visitor, **headers) == 4001
    assert await code(visitor, "?api_key=wrong") == 4001
    assert await code(visitor, message={"access_token": "wrong"}) == 4001


async def test_no_credential_is_4401(visitor, monkeypatch):
    monkeypatch.setattr(websocket_auth, "FIRST_MESSAGE_S", 0.3)
    assert await code(visitor) == 4401
    assert await code(visitor, "", {"nothing": 1}) == 4401
    assert await code(visitor, "", {"api_key": "x" * 9000}) == 4401


async def test_scopes_are_checked_whichever_way_the_credential_came(visitor):
    limited = {"expires_in": 60, "scopes": ["read:queue"]}
    secret = (await visitor.post("/api/auth/apikey", json=limited)).json()["secret"]
    assert await code(visitor, Authorization=f"ApiKey {secret}") == 4403
    assert await code(visitor, f"?api_key={secret}") == 4403
    assert await code(visitor, message={"api_key": secret}) == 4403


async def test_another_sites_page_opens_no_websocket(visitor, key):
    assert await code(visitor, f"?api_key={key}", Origin="https://evil.example") == 4403
    await watching(visitor, f"?api_key={key}", Origin=OURS)
    await watching(visitor, f"?api_key={key}", Origin=f"http://127.0.0.1:{visitor.port}")


async def test_a_session_cookie_opens_a_websocket_for_our_pages_only(visitor):
    await visitor.post("/api/auth/cookie")
    cookie = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    await watching(visitor, Cookie=cookie, Origin=OURS)
    assert await code(visitor, Cookie=cookie, Origin="https://evil.example") == 4403


async def test_an_expired_token_is_4001(sanic_client, make_config, folder):
    client = await sanic_client(app_of(make_config(**settings(folder, tokens={"access_token_s": 1.0}))))
    tokens = await log_in(client, "bob")
    await asyncio.sleep(1.5)
    assert await code(client, f"?access_token={tokens['access_token']}") == 4001


async def test_a_key_deleted_while_its_websocket_lives_does_not_close_it(visitor, key):
    watcher = await watching(visitor, Authorization=f"ApiKey {key}")
    assert (await visitor.delete("/api/auth/apikey", params={"first_eight": key[:8]})).json()["success"]
    for _ in range(3):
        await watcher.recv(4)
    assert await code(visitor, Authorization=f"ApiKey {key}") == 4001


async def test_credentials_do_not_break_the_handshake_of_a_server_without_logins(client):
    for headers in ({"Authorization": client.headers["Authorization"]},):
        watcher = await Watcher.connect(client.port, PATH, headers)
        assert "status" in json.loads(await watcher.recv(4))["msg"]
