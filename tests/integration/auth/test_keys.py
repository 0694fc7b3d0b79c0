"""API keys and principals: made, limited, listed, deleted."""

import asyncio
from datetime import datetime

import httpx
import pytest
from conftest import KEY, app_of
from logins import log_in, settings

KEYS = "/api/auth/apikey"


def with_key(client, secret, scheme="ApiKey"):
    return httpx.AsyncClient(base_url=client.base_url, headers={"Authorization": f"{scheme} {secret}"}, timeout=20)


async def make_key(client, **wanted):
    response = await client.post(KEYS, json={"expires_in": 60, **wanted})
    assert response.status_code == 200, response.text
    return response.json()


async def test_a_key_opens_what_its_owner_may(visitor):
    await log_in(visitor, "bob")
    key = await make_key(visitor, note="a script")
    assert set(key) == {"first_eight", "expiration_time", "note", "scopes", "latest_activity", "secret"}
    assert key["secret"].startswith(key["first_eight"])
    assert len(bytes.fromhex(key["secret"])) == 36
    assert key["scopes"] == ["inherit"]
    for scheme in ("ApiKey", "Apikey", "APIKEY", "apikey"):
        async with with_key(visitor, key["secret"], scheme) as program:
            assert (await program.get("/api/queue/get")).status_code == 200
            who = (await program.get("/api/auth/whoami")).json()
            assert who["api_key"] == key["first_eight"]
            assert who["identities"][0]["id"] == "bob"
    visitor.headers.pop("Authorization")
    assert (await visitor.get(f"/api/queue/get?api_key={key['secret']}")).status_code == 200


async def test_the_secret_is_not_in_the_database(visitor, folder):
    await log_in(visitor, "bob")
    secret = (await make_key(visitor))["secret"]
    content = b"".join(file.read_bytes() for file in folder.glob("logins.sqlite*"))
    assert secret[:8].encode() in content
    assert secret[8:].encode() not in content


async def test_a_limited_key_may_nothing_else(visitor):
    await log_in(visitor, "bob")
    key = await make_key(visitor, scopes=["read:queue", "user:apikeys"])
    async with with_key(visitor, key["secret"]) as program:
        assert (await program.get("/api/queue/get")).status_code == 200
        assert (await program.get("/api/history/get")).status_code == 403
        who = (await program.get("/api/auth/whoami")).json()
        assert who["scopes"] == who["api_key_scopes"] == ["read:queue", "user:apikeys"]
        child = await make_key(program, expires_in=None)
        assert child["scopes"] == ["read:queue", "user:apikeys"], "a limited key makes no unlimited one"
        left = datetime.fromisoformat(child["expiration_time"]) - datetime.fromisoformat(key["expiration_time"])
        assert abs(left.total_seconds()) < 1, "a key makes none that outlives it"


@pytest.mark.parametrize("scopes", [["admin:apikeys"], ["no:such:scope"], ["inherit", "read:queue"]])
async def test_scopes_that_the_owner_does_not_hold_are_refused(visitor, scopes):
    await log_in(visitor, "bob")
    response = await visitor.post(KEYS, json={"expires_in": 60, "scopes": scopes})
    assert response.status_code == 400
    assert response.json()["field"] == "scopes"


async def test_how_long_a_key_lives_must_be_said(visitor):
    await log_in(visitor, "bob")
    response = await visitor.post(KEYS, json={"note": "x"})
    assert response.status_code == 400
    assert "expires_in" in response.json()["detail"]
    assert (await visitor.post(KEYS, json={"expires_in": -1})).status_code == 400


async def test_an_expired_key_is_not_known(visitor):
    await log_in(visitor, "bob")
    key = await make_key(visitor, expires_in=3)
    async with with_key(visitor, key["secret"]) as program:
        response = await program.get("/api/queue/get")
        assert response.status_code == 200
        for _ in range(600):
            if response.status_code != 200:
                break
            await asyncio.sleep(0.05)
            response = await program.get("/api/queue/get")
    assert response.status_code == 401
    assert response.json()["detail"] == "Invalid API key"


async def test_a_deleted_key_is_refused_at_once(visitor):
    await log_in(visitor, "bob")
    key = await make_key(visitor)
    async with with_key(visitor, key["secret"]) as program:
        assert (await program.get(KEYS)).json()["first_eight"] == key["first_eight"]
        assert (await visitor.delete(KEYS, params={"first_eight": key["first_eight"]})).json()["success"]
        assert (await program.get("/api/queue/get")).status_code == 401
        assert (await program.get(KEYS)).status_code == 401
    assert (await visitor.delete(KEYS, params={"first_eight": key["first_eight"]})).status_code == 404


async def test_nobody_deletes_anothers_key(visitor):
    await log_in(visitor, "bob")
    key = await make_key(visitor)
    await log_in(visitor, "olga")
    assert (await visitor.delete(KEYS, params={"first_eight": key["first_eight"]})).status_code == 404


async def test_there_is_a_most_of_keys(serve_logins):
    client = await serve_logins(tokens={"max_api_keys": 2})
    await log_in(client, "bob")
    await make_key(client)
    await make_key(client)
    assert (await client.post(KEYS, json={"expires_in": 60})).status_code == 409


async def test_an_admin_sees_everybody_and_makes_keys_for_others(visitor):
    await log_in(visitor, "bob")
    bob = (await visitor.get("/api/auth/whoami")).json()["uuid"]
    assert (await visitor.get("/api/auth/principal")).status_code == 403
    await log_in(visitor, "alice")
    assert {one["identities"][0]["id"] for one in (await visitor.get("/api/auth/principal")).json()} == {"alice", "bob"}
    assert len((await visitor.get("/api/auth/principal?limit=1&offset=1")).json()) == 1
    assert (await visitor.get(f"/api/auth/principal/{bob}")).json()["uuid"] == bob
    assert (await visitor.get("/api/auth/principal/nobody")).status_code == 404
    key = (await visitor.post(f"/api/auth/principal/{bob}/apikey", json={"expires_in": None})).json()
    async with with_key(visitor, key["secret"]) as program:
        assert (await program.get("/api/auth/whoami")).json()["identities"][0]["id"] == "bob"
    excess = await visitor.post(
        f"/api/auth/principal/{bob}/apikey", json={"expires_in": 60, "scopes": ["admin:apikeys"]}
    )
    assert excess.status_code == 400
    assert (await visitor.post("/api/auth/principal/nobody/apikey", json={"expires_in": 60})).status_code == 404
    gone = await visitor.delete(f"/api/auth/principal/{bob}/apikey", params={"first_eight": key["first_eight"]})
    assert gone.status_code == 200


async def test_an_admin_is_told_of_others_what_they_are_told_of_themselves(visitor):
    await log_in(visitor, "olga")
    olga = (await visitor.get("/api/auth/whoami")).json()
    await log_in(visitor, "alice")
    me = (await visitor.get("/api/auth/whoami")).json()
    told = {one["uuid"]: one for one in (await visitor.get("/api/auth/principal")).json()}
    assert told[me["uuid"]] == (await visitor.get(f"/api/auth/principal/{me['uuid']}")).json() == me
    assert told[olga["uuid"]] == (await visitor.get(f"/api/auth/principal/{olga['uuid']}")).json()
    assert {name: told[olga["uuid"]][name] for name in ("roles", "scopes", "session")} == {
        "roles": ["observer"],
        "scopes": olga["scopes"],
        "session": None,
    }


async def test_an_admin_ends_anothers_session(visitor):
    bob_tokens = await log_in(visitor, "bob")
    who = (await visitor.get("/api/auth/whoami")).json()
    await log_in(visitor, "alice")
    path = f"/api/auth/principal/{who['uuid']}/session/{who['session']}"
    assert (await visitor.delete(path)).status_code == 200
    visitor.headers["Authorization"] = f"Bearer {bob_tokens['access_token']}"
    assert (await visitor.get("/api/auth/whoami")).status_code == 401


async def test_a_service_account_has_keys_and_the_roles_of_the_policy(visitor, folder):
    policy = folder / "permissions.yaml"
    policy.write_text(policy.read_text() + "  robot: {roles: user, provider: service}\n")
    await log_in(visitor, "alice")
    made = await visitor.post("/api/auth/principal", json={"name": "robot", "note": "adds plans"})
    assert made.status_code == 201
    assert made.json()["type"] == "service"
    assert (await visitor.post("/api/auth/principal", json={"name": "robot"})).status_code == 409
    for _ in range(50):
        key = await visitor.post(f"/api/auth/principal/{made.json()['uuid']}/apikey", json={"expires_in": None})
        if key.status_code == 200:
            break
        await asyncio.sleep(0.1)
    async with with_key(visitor, key.json()["secret"]) as robot:
        assert (await robot.get("/api/queue/get")).status_code == 200


async def test_sql_in_any_text_is_only_a_text(visitor):
    evil = "'; DROP TABLE principals; --"
    await log_in(visitor, "alice")
    assert (
        await visitor.post("/api/auth/provider/toy/token", data={"username": evil, "password": evil})
    ).status_code == 401
    key = await make_key(visitor, note=evil)
    assert key["note"] == evil
    assert (await visitor.delete(KEYS, params={"first_eight": evil})).status_code == 404
    assert (await visitor.get(f"/api/auth/principal/{evil}")).status_code == 404
    assert (await visitor.delete(f"/api/auth/session/revoke/{evil}")).status_code == 404
    assert (await visitor.post("/api/auth/session/refresh", json={"refresh_token": evil})).status_code == 401
    assert (await visitor.post("/api/auth/principal", json={"name": evil})).status_code == 400
    async with with_key(visitor, evil) as program:
        assert (await program.get("/api/queue/get")).status_code == 401
    assert (await visitor.get("/api/auth/principal")).status_code == 200


async def test_the_last_use_of_a_key_is_written_when_the_server_stops(sanic_client, make_config, folder):
    config = make_config(**settings(folder))
    client = await sanic_client(app_of(config))
    await log_in(client, "bob")
    key = await make_key(client)
    async with with_key(client, key["secret"]) as program:
        await program.get("/api/queue/get")
    accounts = client.app.ctx.services.logins.accounts
    await accounts._write_activity()
    async with with_key(client, key["secret"]) as program:
        assert (await program.get(KEYS)).json()["latest_activity"] is not None
        assert (await program.get("/api/auth/whoami")).json()["latest_activity"] is not None


async def test_a_server_without_logins_answers_every_auth_path(client):
    """Never a 500, and what makes sense with one key works."""
    who = (await client.get("/api/auth/whoami")).json()
    assert who["identities"][0]["id"] == "UNAUTHENTICATED_SINGLE_USER"
    assert "write:queue:edit" in who["scopes"]
    assert (await client.get("/api/auth/scopes")).json()["roles"] == ["unauthenticated_single_user"]
    assert (await client.get(KEYS)).json()["scopes"] == ["inherit"]
    assert (await client.post("/api/auth/logout")).json() == {}
    assert (await client.post("/api/auth/ticket")).status_code == 200
    no_logins = await client.post(KEYS, json={"expires_in": 60})
    assert no_logins.status_code == 409
    assert "no accounts" in no_logins.json()["detail"]
    for verb, path in (
        ("DELETE", f"{KEYS}?first_eight=12345678"),
        ("POST", "/api/auth/session/refresh?refresh_token=x"),
        ("DELETE", "/api/auth/session/revoke/x"),
        ("POST", "/api/auth/provider/x/token"),
        ("GET", "/api/auth/provider/x/authorize"),
        ("GET", "/api/auth/provider/x/code"),
        ("GET", "/api/auth/principal"),
    ):
        assert (await client.request(verb, path)).status_code in (403, 404, 409), path
    about = (await client.get("/api/")).json()
    assert about["authentication"] == {"required": False, "single_user": True, "providers": []}


async def test_the_public_is_told_how_to_log_in_and_no_more(anonymous):
    assert (await anonymous.get("/api/auth/whoami")).status_code == 401
    assert (await anonymous.get("/api/auth/scopes")).json() == {"roles": [], "scopes": []}
    about = (await anonymous.get("/api/")).json()
    assert about["server"] == "sanic_qserver"
    assert "manager_state" not in about


async def test_keys_work_without_logins_when_there_is_a_database(sanic_client, make_config, folder):
    config = make_config(
        auth={"single_user_api_key": KEY, "secret_keys": ["0123456789abcdef"]},
        database={"url": f"sqlite:///{folder}/keys.sqlite"},
    )
    client = await sanic_client(app_of(config))
    client.headers["Authorization"] = f"ApiKey {KEY}"
    key = await make_key(client, scopes=["read:queue"])
    async with with_key(client, key["secret"]) as program:
        assert (await program.get("/api/queue/get")).status_code == 200
        assert (await program.get("/api/history/get")).status_code == 403


async def test_a_hot_key_costs_no_database_access(visitor):
    await log_in(visitor, "bob")
    secret = (await make_key(visitor))["secret"]
    async with with_key(visitor, secret) as program:
        assert (await program.get("/api/queue/get")).status_code == 200
        store = visitor.app.ctx.services.logins.accounts.store
        looked_up = []
        key = store.key
        store.key = lambda hash_: looked_up.append(hash_) or key(hash_)
        for _ in range(3):
            visitor.app.ctx.gate._known.clear()
            assert (await program.get("/api/queue/get")).status_code == 200
    assert looked_up == []
