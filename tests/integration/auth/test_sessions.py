"""Logging in with a password, and what a session is good for."""

import asyncio

import pytest
from conftest import app_of
from logins import PASSWORDS, dictionary, log_in, settings

TOKEN = "/api/auth/provider/toy/token"


async def test_a_login_gives_tokens_that_open_what_the_policy_grants(visitor):
    tokens = await log_in(visitor, "bob")
    assert set(tokens) == {"access_token", "expires_in", "refresh_token", "refresh_token_expires_in", "token_type"}
    assert tokens["token_type"] == "bearer"
    assert (await visitor.get("/api/queue/get")).status_code == 200
    refused = await visitor.post("/api/lock", json={"lock_key": "x", "queue": True})
    assert refused.status_code == 403
    assert refused.json()["detail"].startswith("Not enough permissions")


async def test_a_login_may_come_as_a_multipart_form(visitor):
    response = await visitor.post(TOKEN, files={"username": (None, "bob"), "password": (None, PASSWORDS["bob"])})
    assert response.status_code == 200, response.text


@pytest.mark.parametrize(
    ("name", "password"), [("bob", "wrong"), ("nobody", "x"), ("", "x"), ("bob", ""), ("b\nob", "x")]
)
async def test_a_wrong_login_does_not_tell_what_is_wrong(visitor, name, password):
    response = await visitor.post(TOKEN, data={"username": name, "password": password})
    assert response.status_code == 401
    assert response.json()["detail"] == "Incorrect username or password"


async def test_who_is_not_in_the_policy_may_not_enter(visitor):
    response = await visitor.post(TOKEN, data={"username": "carol", "password": PASSWORDS["carol"]})
    assert response.status_code == 401
    assert response.json()["detail"].startswith("User is not authorized to access the server")


async def test_an_unknown_provider_is_not_found(visitor):
    assert (await visitor.post("/api/auth/provider/other/token", data={})).status_code == 404


async def test_a_password_in_the_url_is_refused(visitor):
    response = await visitor.post(f"{TOKEN}?username=bob&password={PASSWORDS['bob']}")
    assert response.status_code == 400


async def test_the_api_names_the_providers(visitor):
    about = (await visitor.get("/api/")).json()
    provider = about["authentication"]["providers"][0]
    assert (provider["provider"], provider["mode"]) == ("toy", "password")
    assert provider["links"]["token"] == TOKEN
    assert "manager_state" not in about
    await log_in(visitor)
    assert (await visitor.get("/api/")).json()["manager_state"]


async def test_whoami_shows_login_roles_and_sessions(visitor):
    await log_in(visitor, "olga")
    who = (await visitor.get("/api/auth/whoami")).json()
    assert who["type"] == "user"
    assert [(one["id"], one["provider"]) for one in who["identities"]] == [("olga", "toy")]
    assert who["roles"] == ["observer"]
    assert "read:queue" in who["scopes"]
    assert [one["uuid"] for one in who["sessions"]] == [who["session"]]


async def test_refresh_gives_new_tokens_though_the_old_access_token_comes_along(serve_logins):
    client = await serve_logins(tokens={"access_token_s": 0.5})
    tokens = await log_in(client, "bob")
    await asyncio.sleep(1.2)
    expired = await client.get("/api/queue/get")
    assert expired.status_code == 401
    assert expired.json()["detail"].startswith("Access token has expired")
    fresh = (await client.post("/api/auth/session/refresh", json={"refresh_token": tokens["refresh_token"]})).json()
    assert fresh["refresh_token"] != tokens["refresh_token"]


async def test_a_replayed_refresh_token_ends_the_session_for_both(serve_logins):
    client = await serve_logins(tokens={"refresh_grace_s": 0})
    tokens = await log_in(client, "bob")
    first = (await client.post("/api/auth/session/refresh", json={"refresh_token": tokens["refresh_token"]})).json()
    replay = await client.post("/api/auth/session/refresh", json={"refresh_token": tokens["refresh_token"]})
    assert replay.status_code == 401
    assert replay.json()["detail"] == "Session has expired. Please re-authenticate."
    again = await client.post("/api/auth/session/refresh", json={"refresh_token": first["refresh_token"]})
    assert again.status_code == 401
    client.headers["Authorization"] = f"Bearer {first['access_token']}"
    assert (await client.get("/api/queue/get")).status_code == 401


async def test_two_refreshes_at_once_do_not_end_the_session(visitor):
    tokens = await log_in(visitor, "bob")
    body = {"refresh_token": tokens["refresh_token"]}
    replies = await asyncio.gather(*(visitor.post("/api/auth/session/refresh", json=body) for _ in range(5)))
    assert [reply.status_code for reply in replies] == [200] * 5
    last = replies[-1].json()["refresh_token"]
    assert (await visitor.post("/api/auth/session/refresh", json={"refresh_token": last})).status_code == 200


async def test_a_revoked_session_ends_at_once(visitor):
    await log_in(visitor, "bob")
    session = (await visitor.get("/api/auth/whoami")).json()["session"]
    assert (await visitor.delete("/api/auth/session/revoke/not-mine")).status_code == 404
    assert (await visitor.delete(f"/api/auth/session/revoke/{session}")).json() == {"success": True, "msg": ""}
    refused = await visitor.get("/api/queue/get")
    assert refused.status_code == 401
    assert refused.json()["detail"] == "Session has expired. Please re-authenticate."


async def test_nobody_ends_anothers_session(visitor):
    await log_in(visitor, "bob")
    session = (await visitor.get("/api/auth/whoami")).json()["session"]
    await log_in(visitor, "olga")
    assert (await visitor.delete(f"/api/auth/session/revoke/{session}")).status_code == 404


async def test_logout_ends_the_session(visitor):
    tokens = await log_in(visitor, "bob")
    assert (await visitor.post("/api/auth/logout")).json() == {}
    assert (await visitor.get("/api/auth/whoami")).status_code == 401
    refresh = await visitor.post("/api/auth/session/refresh", json={"refresh_token": tokens["refresh_token"]})
    assert refresh.status_code == 401


async def test_the_oldest_session_ends_when_there_are_too_many(serve_logins):
    client = await serve_logins(tokens={"max_sessions": 2})
    first = await log_in(client, "bob")
    await log_in(client, "bob")
    await log_in(client, "bob")
    assert len((await client.get("/api/auth/whoami")).json()["sessions"]) == 2
    client.headers["Authorization"] = f"Bearer {first['access_token']}"
    assert (await client.get("/api/auth/whoami")).status_code == 401


async def test_the_policy_is_asked_at_each_request_not_the_token(visitor, folder):
    await log_in(visitor, "bob")
    assert (await visitor.get("/api/queue/get")).status_code == 200
    policy = folder / "permissions.yaml"
    policy.write_text(policy.read_text().replace("bob: {roles: user}", "bob: null"))
    for _ in range(60):
        if (response := await visitor.get("/api/queue/get")).status_code == 401:
            break
        await asyncio.sleep(0.1)
    assert response.json()["detail"].startswith("User is not authorized")


async def test_a_revocation_in_one_worker_takes_effect_in_another(sanic_client, make_config, folder):
    here = await sanic_client(app_of(make_config(**settings(folder))))
    there = await sanic_client(app_of(make_config(**settings(folder))))
    tokens = await log_in(here, "bob")
    there.headers["Authorization"] = f"Bearer {tokens['access_token']}"
    assert (await there.get("/api/queue/get")).status_code == 200
    await here.post("/api/auth/logout")
    start = asyncio.get_running_loop().time()
    while (await there.get("/api/queue/get")).status_code == 200:
        assert asyncio.get_running_loop().time() - start < 5
        await asyncio.sleep(0.02)
    print("revocation seen elsewhere after", asyncio.get_running_loop().time() - start)


async def test_a_hot_token_costs_no_database_access(visitor):
    await log_in(visitor, "bob")
    await visitor.get("/api/queue/get")
    accounts = visitor.app.ctx.services.logins.accounts
    looked_up = []
    session = accounts.store.session
    accounts.store.session = lambda uuid: looked_up.append(uuid) or session(uuid)
    for _ in range(3):
        visitor.app.ctx.gate._known.clear()
        assert (await visitor.get("/api/queue/get")).status_code == 200
    assert looked_up == []


async def test_providers_of_one_name_are_refused(make_config, folder):
    from sanic_qserver.errors import ConfigError

    with pytest.raises(ConfigError, match="taken"):
        app_of(make_config(**settings(folder, dictionary(), dictionary())))
