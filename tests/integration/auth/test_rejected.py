"""Credentials that nobody knows: counted by address before anything is looked up."""

import httpx
import pytest
from logins import dictionary, log_in

from sanic_qserver.auth.tokens.rejected import Rejected
from sanic_qserver.errors import TooManyRequests

FREE = {"rejected_credentials": 10}


def looked_up(client, monkeypatch):
    """What the database is asked for from now on."""
    store, asked = client.app.ctx.services.logins.accounts.store, []
    for name in ("key", "session"):
        original = getattr(store, name)
        monkeypatch.setattr(store, name, lambda value, original=original: asked.append(value) or original(value))
    return asked


async def statuses(client, credentials):
    return [(await client.get("/api/status", headers={"Authorization": one})).status_code for one in credentials]


async def test_400_bad_keys_cost_few_look_ups_and_end_in_429(serve_logins, monkeypatch):
    client = await serve_logins(attempts=FREE)
    asked = looked_up(client, monkeypatch)
    codes = await statuses(client, [f"ApiKey {n:072x}" for n in range(400)])
    assert len(asked) <= 40
    assert codes[:10] == [401] * 10
    assert codes.count(429) >= 360
    response = await client.get("/api/status", headers={"Authorization": "ApiKey another"})
    assert int(response.headers["Retry-After"]) >= 1
    assert response.json()["rule"] == "rejected_credentials"


async def test_bad_tokens_tickets_and_cookies_are_counted_too(serve_logins):
    client = await serve_logins(attempts=FREE)
    assert await statuses(client, ["Bearer a.b.c"] * 6) == [401] * 6
    for _ in range(6):
        client.cookies.set("sanic_qserver_session", "x.y.z")
        await client.get("/api/events?ticket=nonsense")
    assert 429 in await statuses(client, ["Bearer a.b.c"] * 4)


async def test_one_with_a_good_key_is_served_while_the_address_is_counted_out(serve_logins):
    client = await serve_logins(attempts=FREE)
    await log_in(client, "bob")
    key = (await client.post("/api/auth/apikey", json={"expires_in": 60})).json()["secret"]
    async with httpx.AsyncClient(base_url=client.base_url, headers={"Authorization": f"ApiKey {key}"}) as good:
        assert (await good.get("/api/status")).status_code == 200
        assert 429 in await statuses(client, [f"ApiKey {n}" for n in range(30)])
        client.app.ctx.services.logins.accounts.credential_cache.forget()
        assert (await good.get("/api/status")).status_code == 200
    del client.headers["Authorization"]
    assert (await client.get("/api/auth/scopes")).status_code == 200, "the anonymous bring nothing to look up"
    await log_in(client, "olga")


async def test_a_revoked_key_is_looked_up_no_more_once_it_was_refused(serve_logins, monkeypatch):
    client = await serve_logins(dictionary(), attempts=FREE)
    await log_in(client, "bob")
    key = (await client.post("/api/auth/apikey", json={"expires_in": 60})).json()
    assert await statuses(client, [f"ApiKey {key['secret']}"]) == [200]
    await client.delete("/api/auth/apikey", params={"first_eight": key["first_eight"]})
    asked = looked_up(client, monkeypatch)
    codes = await statuses(client, [f"ApiKey {key['secret']}"] * 100)
    assert codes[0] == 401
    assert codes[-1] == 429
    assert len(asked) <= 30


def test_an_address_gets_back_what_it_has_free_and_others_have_theirs():
    now = [0.0]
    rejected = Rejected(10, clock=lambda: now[0])
    for n in range(10):
        rejected.check("2001:db8::1")
        rejected.count(f"2001:db8::{n}")
    with pytest.raises(TooManyRequests):
        rejected.check("2001:db8::ffff")
    rejected.check("2001:db8:1::1")
    now[0] = 6.1
    rejected.check("2001:db8::1")


def test_memory_is_bounded():
    rejected = Rejected(10)
    for n in range(11_000):
        rejected.count(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}")
    assert len(rejected._left) == 10_000
