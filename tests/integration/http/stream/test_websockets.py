"""The three classic websockets: frames as clients parse them, and who may watch."""

import asyncio
import json

import pytest
from conftest import KEY, app_of, until_connected
from watching import Watcher, all_leave, client_of

from sanic_qserver.http.stream import websocket_auth

PLAN = {"name": "count", "args": [["det1"]], "item_type": "plan"}
PATHS = ("/console_output/ws", "/status/ws", "/info/ws")


@pytest.fixture
async def client(served):
    """The session's server: one for all these tests, with an empty queue and history."""
    async with client_of(served) as client:
        yield client


@pytest.fixture
async def watch(client):
    """Open a watcher of the client's server, with the key unless told otherwise."""

    async def watch(path, headers=None):
        headers = {"Authorization": f"ApiKey {KEY}"} if headers is None else headers
        return await Watcher.connect(client.port, path, headers)

    yield watch
    await all_leave()


async def test_the_console_websocket_sends_time_and_msg_only(client, watch):
    for path in ("/api/console_output/ws", "/console_output/ws"):
        watcher = await watch(path)
        await asyncio.sleep(0.05)
        await client.post("/api/queue/item/add", json={"item": PLAN})
        message = json.loads(await watcher.recv())
        assert set(message) == {"time", "msg"}
        assert isinstance(message["time"], float)
        assert isinstance(message["msg"], str)


@pytest.mark.parametrize("path", ["/api/status/ws", "/api/info/ws", "/info/ws", "/status/ws"])
async def test_the_status_comes_at_least_once_a_second(watch, path):
    watcher = await watch(path)
    messages = [json.loads(await watcher.recv(4)) for _ in range(2)]
    for message in messages:
        assert set(message) == {"time", "msg"}
        assert isinstance(message["time"], float)
        assert set(message["msg"]) == {"status"}
        assert message["msg"]["status"]["manager_state"]


@pytest.mark.parametrize("scheme", ["ApiKey", "apikey", "Apikey", "APIKEY"])
async def test_the_scheme_may_be_in_any_case(watch, scheme):
    watcher = await watch("/api/status/ws", {"Authorization": f"{scheme} {KEY}"})
    assert "status" in await watcher.recv()


async def test_a_key_in_the_query_admits(watch):
    watcher = await watch(f"/api/status/ws?api_key={KEY}", {})
    assert "status" in await watcher.recv()


async def test_a_key_in_query_and_header_admits(watch):
    watcher = await watch(f"/api/status/ws?api_key={KEY}", {"Authorization": f"ApiKey {KEY}"})
    assert "status" in await watcher.recv()


async def test_a_key_in_the_first_message_admits(watch):
    watcher = await watch("/api/status/ws", {})
    watcher.send(json.dumps({"type": "auth", "api_key": KEY}))
    assert "status" in await watcher.recv()


@pytest.mark.parametrize("message", [
    {"type": "auth", "api_key": "wrong"},
    {"type": "auth", "access_token": "wrong"},
])  # fmt: skip
async def test_a_wrong_credential_in_the_first_message_is_told(watch, message):
    watcher = await watch("/api/status/ws", {})
    watcher.send(json.dumps(message))
    assert await watcher.closed() == 4001


@pytest.mark.parametrize("text", ["", "[]", '{"type":"auth"}', '{"type":"other","api_key":"x"}'])
async def test_a_first_message_without_a_credential_is_told(watch, text):
    watcher = await watch("/api/status/ws", {})
    watcher.send(text)
    assert await watcher.closed() == 4401


async def test_who_sends_no_credential_in_time_is_told(watch, monkeypatch):
    monkeypatch.setattr(websocket_auth, "FIRST_MESSAGE_S", 0.1)
    watcher = await watch("/api/console_output/ws", {})
    assert await watcher.closed() == 4401


async def test_a_wrong_key_in_the_header_is_told(watch):
    watcher = await watch("/api/status/ws", {"Authorization": "ApiKey wrong"})
    assert watcher.status == 101
    assert await watcher.closed() == 4001


async def test_a_key_without_the_scope_is_told(sanic_client, make_config, tmp_path):
    policy = tmp_path / "permissions.yaml"
    policy.write_text('roles: {unauthenticated_single_user: {scopes: ["read:status", "read:console"]}}')
    client = await sanic_client(app_of(make_config(policy={"permissions": str(policy)})))
    await until_connected(client)
    for headers, first in (({"Authorization": f"ApiKey {KEY}"}, None), ({}, {"type": "auth", "api_key": KEY})):
        watcher = await Watcher.connect(client.port, "/api/status/ws", headers)
        if first:
            watcher.send(json.dumps(first))
        assert await watcher.closed() == 4403
        await watcher.leave()


async def test_credentials_are_welcome_where_none_are_needed(sanic_client, make_config):
    client = await sanic_client(app_of(make_config(policy={"permissions": "policies/open.yaml"})))
    for headers in ({}, {"Authorization": f"ApiKey {KEY}"}):
        watcher = await Watcher.connect(client.port, "/api/status/ws", headers)
        assert "status" in await watcher.recv()
        await watcher.leave()


async def test_a_plain_get_is_told_to_upgrade(client):
    for path in PATHS:
        reply = await client.get("/api" + path)
        assert reply.status_code == 426
        assert reply.headers["Upgrade"] == "websocket"


async def test_what_a_watcher_sends_is_ignored(watch):
    watcher = await watch("/api/status/ws")
    for _ in range(20):
        watcher.send("are you there?")
    for _ in range(2):
        assert "status" in await watcher.recv()


@pytest.mark.parametrize("offer", ["permessage-deflate; client_max_window_bits", "permessage-deflate"])
async def test_long_messages_are_compressed_where_the_client_offers_it(watch, offer):
    watcher = await watch("/api/status/ws", {"Authorization": f"ApiKey {KEY}", "Sec-WebSocket-Extensions": offer})
    assert "permessage-deflate; server_no_context_takeover; client_no_context_takeover" in watcher.head
    for _ in range(2):
        message = json.loads(await watcher.recv())
        assert set(message["msg"]) == {"status"}
    assert watcher.compressed == 2


async def test_a_client_with_a_small_window_gets_plain_messages(watch):
    offer = "permessage-deflate; server_max_window_bits=9"
    watcher = await watch("/api/status/ws", {"Authorization": f"ApiKey {KEY}", "Sec-WebSocket-Extensions": offer})
    assert "server_max_window_bits=9" in watcher.head
    assert json.loads(await watcher.recv())["msg"]
    assert watcher.compressed == 0


async def test_short_messages_are_not_compressed(served, watch):
    headers = {"Authorization": f"ApiKey {KEY}", "Sec-WebSocket-Extensions": "permessage-deflate"}
    watcher = await watch("/api/console_output/ws", headers)
    await asyncio.sleep(0.1)
    live, short = served.app.ctx.services.live, b'{"time": 1.0, "msg": "short\\n"}'
    served._loop.call_soon_threadsafe(live._hear, "QS_Console", short)
    while json.loads(await watcher.recv())["msg"] != "short\n":
        pass
    assert watcher.compressed == 0


@pytest.mark.parametrize("more", [{"Sec-WebSocket-Version": "7"}, {"Sec-WebSocket-Key": "short"}])
async def test_a_bad_handshake_is_refused(client, more):
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
               "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", **more}  # fmt: skip
    reply = await client.get("/api/status/ws", headers=headers)
    assert 400 <= reply.status_code < 500
    assert reply.headers["Content-Type"] == "application/problem+json"
