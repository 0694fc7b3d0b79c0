"""What a credential hands on: never more scopes and never more time than it has itself."""

import time

import httpx
import pytest
from conftest import KEY, app_of, until_connected
from logins import log_in, settings

from sanic_qserver.structs.identity import CredentialKind, Principal

ADMIN = ["admin:apikeys"]


def with_key(client, secret):
    return httpx.AsyncClient(base_url=client.base_url, headers={"Authorization": f"ApiKey {secret}"}, timeout=20)


async def make_key(client, path="/api/auth/apikey", **wanted):
    response = await client.post(path, json={"expires_in": None, **wanted})
    assert response.status_code == 200, response.text
    return response.json()


async def uuid_of(client):
    return (await client.get("/api/auth/whoami")).json()["uuid"]


async def test_a_limited_key_mints_no_wider_and_no_longer_key_for_anybody(visitor):
    await log_in(visitor, "bob")
    bob = await uuid_of(visitor)
    await log_in(visitor, "alice")
    alice = await uuid_of(visitor)
    limited = await make_key(visitor, scopes=ADMIN, expires_in=60)
    async with with_key(visitor, limited["secret"]) as program:
        child = await make_key(program, f"/api/auth/principal/{alice}/apikey")
        assert child["scopes"] == ADMIN
        assert child["expiration_time"] is not None
        assert child["expiration_time"] <= limited["expiration_time"]
        for owner, scopes in ((alice, ["read:queue"]), (bob, ["read:queue"]), (bob, None)):
            refused = await program.post(
                f"/api/auth/principal/{owner}/apikey", json={"expires_in": 60, "scopes": scopes}
            )
            assert refused.status_code == 400, refused.text
            assert refused.json()["field"] == "scopes"
    async with with_key(visitor, child["secret"]) as program:
        assert (await program.get("/api/auth/whoami")).json()["scopes"] == ADMIN


async def test_a_login_without_limits_still_makes_keys_for_others(visitor):
    await log_in(visitor, "bob")
    bob = await uuid_of(visitor)
    await log_in(visitor, "alice")
    key = await make_key(visitor, f"/api/auth/principal/{bob}/apikey")
    assert key["scopes"] == ["inherit"]
    assert key["expiration_time"] is None


async def test_a_key_for_reading_neither_lists_nor_ends_its_owners_sessions(visitor):
    await log_in(visitor, "bob")
    session = (await visitor.get("/api/auth/whoami")).json()["session"]
    await make_key(visitor, note="another")
    reading = await make_key(visitor, scopes=["read:status"])
    managing = await make_key(visitor, scopes=["user:apikeys"])
    path = f"/api/auth/session/revoke/{session}"
    async with with_key(visitor, reading["secret"]) as program:
        who = (await program.get("/api/auth/whoami")).json()
        assert who["sessions"] == []
        assert [key["first_eight"] for key in who["api_keys"]] == [reading["first_eight"]]
        refused = await program.delete(path)
        assert refused.status_code == 403
        assert refused.json()["missing_scope"] == "user:apikeys"
    assert (await visitor.get("/api/queue/get")).status_code == 200, "the session goes on"
    async with with_key(visitor, managing["secret"]) as program:
        assert len((await program.get("/api/auth/whoami")).json()["sessions"]) == 1
        assert (await program.delete(path)).status_code == 200


class Facility:
    """Recognises two bearer tokens that end in a minute, as a facility's OpenID provider's would."""

    name = "facility"

    async def identify(self, credential):
        if credential.kind is not CredentialKind.BEARER or credential.value not in ("carol", "dora"):
            return None
        return Principal(name=credential.value, provider="facility", expires_at=time.time() + 60)


@pytest.fixture
async def facility(sanic_client, make_config, folder):
    policy = """
roles: {maker: {inherits: user, scopes_add: "admin:apikeys"}}
users: {carol: {roles: user}, dora: {roles: maker}}
"""
    client = await sanic_client(app_of(make_config(**settings(folder, policy=policy))))
    client.app.ctx.gate.providers.providers.append(Facility())
    return client


async def test_a_key_made_by_a_short_bearer_ends_with_it(facility):
    facility.headers["Authorization"] = "Bearer carol"
    assert (await make_key(facility))["expiration_time"] is not None
    facility.headers["Authorization"] = "Bearer dora"
    assert (await make_key(facility))["expiration_time"] is None, "admin:apikeys lets it"


async def test_a_browser_session_made_by_a_short_bearer_ends_with_it(facility):
    facility.headers["Authorization"] = "Bearer carol"
    assert (await facility.post("/api/auth/cookie")).status_code == 200
    accounts = facility.app.ctx.services.logins.accounts
    (session,) = (await accounts.store.principal(await uuid_of(facility))).sessions
    _, row = await accounts.store.session(session.uuid)
    assert row.expires_at < time.time() + 61


async def test_keys_of_the_key_less_time_end_when_logins_are_added(sanic_client, make_config, folder):
    url = f"sqlite:///{folder}/logins.sqlite"
    before = await sanic_client(app_of(make_config(database={"url": url})))
    before.headers["Authorization"] = f"ApiKey {KEY}"
    await until_connected(before)
    old = await make_key(before)
    async with with_key(before, old["secret"]) as program:
        assert (await program.get("/api/queue/get")).status_code == 200
    after = await sanic_client(app_of(make_config(**settings(folder))))
    async with with_key(after, old["secret"]) as program:
        refused = await program.get("/api/queue/get")
        assert (refused.status_code, refused.json()["code"]) == (401, "invalid_api_key")


async def test_the_single_user_is_shut_out_like_anybody(sanic_client, make_config, folder):
    (folder / "permissions.yaml").write_text("users: {UNAUTHENTICATED_SINGLE_USER: null}\n")
    config = make_config(
        policy={"permissions": str(folder / "permissions.yaml")}, database={"url": f"sqlite:///{folder}/x.sqlite"}
    )
    client = await sanic_client(app_of(config))
    client.headers["Authorization"] = f"ApiKey {KEY}"
    assert (await client.get("/api/queue/get")).status_code == 401
    assert (await client.post("/api/auth/apikey", json={"expires_in": None})).status_code == 401
    del client.headers["Authorization"]
    assert (await client.get("/api/auth/scopes")).status_code == 200, "the public is somebody else"


async def test_the_public_that_is_shut_out_holds_nothing_and_may_still_log_in(serve_logins, folder):
    (folder / "permissions.yaml").write_text("users: {UNAUTHENTICATED_PUBLIC: null, bob: {roles: user}}\n")
    client = await serve_logins(allow_anonymous_access=True)
    assert (await client.get("/api/status")).status_code == 401
    (folder / "permissions.yaml").write_text("users: {bob: {roles: user}}\n")
    lets_the_public_in = await serve_logins(allow_anonymous_access=True)
    assert (await lets_the_public_in.get("/api/status")).status_code == 200
    await log_in(client, "bob")
    assert (await client.get("/api/status")).status_code == 200
