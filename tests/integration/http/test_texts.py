"""Texts that clients and their tests match are part of the contract: each is asked for over HTTP."""

import pytest
from conftest import KEY, app_of
from logins import log_in

from sanic_qserver.texts import Text, names

HEADERS = {"Authorization": f"ApiKey {KEY}"}
REFRESH = "/api/auth/session/refresh"


async def detail(response, status):
    assert response.status_code == status, response.text
    return response.json()["detail"]


async def access_token_expired(serve_logins, **_):
    server = await serve_logins(tokens={"access_token_s": 0.001})
    await log_in(server)
    return await detail(await server.get("/api/status"), 401), True


async def invalid_api_key(client, **_):
    return await detail(await client.get("/api/status", headers={"Authorization": "ApiKey abc"}), 401), True


async def invalid_token(client, **_):
    return await detail(await client.get("/api/status", headers={"Authorization": "Bearer x.y.z"}), 401), True


async def login_refused(serve_logins, **_):
    server = await serve_logins()
    form = {"username": "bob", "password": "wrong"}
    return await detail(await server.post("/api/auth/provider/toy/token", data=form), 401), True


async def not_authorized(serve_logins, **_):
    server = await serve_logins()
    form = {"username": "carol", "password": "nobody-4"}
    return await detail(await server.post("/api/auth/provider/toy/token", data=form), 401), True


async def session_expired(serve_logins, **_):
    server = await serve_logins(tokens={"refresh_token_s": 0.001})
    tokens = await log_in(server)
    reply = await server.post(REFRESH, json={"refresh_token": tokens["refresh_token"]})
    return await detail(reply, 401), True


async def not_enough_permissions(client, **_):
    return await detail(await client.get("/api/status", headers={"Authorization": ""}), 401), True


async def unsupported_keys(client, **_):
    text = await detail(await client.request("GET", "/api/plans/allowed", json={"unsupported": 1}), 400)
    assert text.startswith("Request contains keys the are not supported: {'unsupported'}")
    return text, True


async def missing_keys(client, **_):
    text = await detail(await client.get("/api/console_output_update"), 400)
    assert text.startswith("Some required keys are missing in the request: {'last_msg_uid'}")
    return text, True


async def missing_time(client, **_):
    return await detail(await client.get("/api/test/server/sleep"), 400), True


async def timeout(sanic_client, make_config, **_):
    server = await sanic_client(
        app_of(make_config(manager={"deadlines_s": {"manager_kill": 0.05, "status": 0.000001}}))
    )
    async with server:
        for _ in range(200):
            response = await server.get("/api/status", headers=HEADERS)
            if response.status_code == 408:
                break
        return await detail(response, 408), True


async def too_many_scopes(serve_logins, **_):
    server = await serve_logins()
    await log_in(server, "olga")
    made = {"expires_in": 60, "scopes": ["write:scripts"]}
    return await detail(await server.post("/api/auth/apikey", json=made), 400), False


async def no_api_key(serve_logins, **_):
    server = await serve_logins()
    return await detail(await server.get("/api/auth/apikey"), 401), True


async def not_your_session(serve_logins, **_):
    server = await serve_logins()
    await log_in(server, "olga")
    session = (await server.get("/api/auth/whoami")).json()["session"]
    await log_in(server, "bob")
    return await detail(await server.delete(f"/api/auth/session/revoke/{session}"), 404), False


async def not_found(client, **_):
    return await detail(await client.post("/api/auth/provider/nobody/token"), 404), True


ASKED = {
    Text.ACCESS_TOKEN_EXPIRED: access_token_expired,
    Text.INVALID_API_KEY: invalid_api_key,
    Text.INVALID_TOKEN: invalid_token,
    Text.LOGIN_REFUSED: login_refused,
    Text.NOT_AUTHORIZED: not_authorized,
    Text.SESSION_EXPIRED: session_expired,
    Text.NOT_ENOUGH_PERMISSIONS: not_enough_permissions,
    Text.UNSUPPORTED_KEYS: unsupported_keys,
    Text.MISSING_KEYS: missing_keys,
    Text.MISSING_TIME: missing_time,
    Text.TIMEOUT: timeout,
    Text.TOO_MANY_SCOPES: too_many_scopes,
    Text.NO_API_KEY: no_api_key,
    Text.NOT_YOUR_SESSION: not_your_session,
    Text.NOT_FOUND: not_found,
}


@pytest.mark.parametrize("text", Text, ids=lambda text: text.name.lower())
async def test_what_clients_match_is_said_over_http(text, client, serve_logins, sanic_client, make_config):
    found, at_the_beginning = await ASKED[text](
        client=client, serve_logins=serve_logins, sanic_client=sanic_client, make_config=make_config
    )
    assert found.startswith(text) if at_the_beginning else text in found


def test_unsupported_names_are_listed_as_the_reference_lists_them():
    assert names(["a", "b"]) == "{'a', 'b'}"
