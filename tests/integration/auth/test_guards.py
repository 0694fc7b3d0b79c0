"""Attacks on tokens and logins, each refused."""

import asyncio
import base64
import json
import logging
import statistics
import time

import pytest
from conftest import app_of
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from logins import PASSWORDS, SECRET_KEY, dictionary, log_in, settings

from sanic_qserver.auth.tokens.signing import Tokens, TokenType
from sanic_qserver.errors import ConfigError, InvalidAccessToken

TOKEN = "/api/auth/provider/toy/token"


def part(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def opened(token):
    return [json.loads(base64.urlsafe_b64decode(one + "==")) for one in token.split(".")[:2]]


def ours(**changes):
    settings_ = {"issuer": "sanic-qserver", "audience": "sanic-qserver", "clock": time.time, **changes}
    return Tokens([SECRET_KEY], **settings_)


async def refused(visitor, token, detail="Could not validate credentials"):
    response = await visitor.get("/api/queue/get", headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == 401, response.text
    assert response.json()["detail"] == detail
    assert token not in response.text


async def test_forged_tokens_are_refused(visitor):
    good = (await log_in(visitor, "bob"))["access_token"]
    header, claims = opened(good)
    session = claims["sub"]
    head, body, signature = good.split(".")
    await refused(visitor, f"{head}.{body}.{signature[:-4]}AAAA")
    await refused(visitor, f"{head}.{part({**claims, 'sub': 'other'})}.{signature}")
    await refused(visitor, f"{part({**header, 'alg': 'none'})}.{body}.")
    await refused(visitor, f"{part({'alg': 'none', 'typ': 'JWT'})}.{body}.{signature}")
    await refused(visitor, f"{head}.{body}.")
    await refused(visitor, "a.b.c")
    await refused(visitor, "....")
    await refused(visitor, Tokens(["another-key"], issuer="sanic-qserver", audience="sanic-qserver", clock=time.time)
                  .sign(TokenType.ACCESS, session, 60))  # fmt: skip
    for algorithm in ("HS384", "HS512"):
        key = OctKey.import_key(b"x" * 64)
        await refused(visitor, jwt.encode({"alg": algorithm}, claims, key, algorithms=[algorithm]))
    rsa = RSAKey.generate_key(2048)
    await refused(visitor, jwt.encode({"alg": "RS256"}, claims, rsa))
    public = rsa.as_pem(private=False)
    confused = jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(base64.b64encode(public)))
    await refused(visitor, confused)
    assert (await visitor.get("/api/queue/get")).status_code == 200


async def test_tokens_of_the_wrong_type_issuer_or_audience_are_refused(visitor):
    tokens = await log_in(visitor, "bob")
    session = opened(tokens["access_token"])[1]["sub"]
    await refused(visitor, tokens["refresh_token"])
    await refused(visitor, ours().sign(TokenType.COOKIE, session, 60))
    await refused(visitor, ours(audience="other").sign(TokenType.ACCESS, session, 60))
    await refused(visitor, ours(issuer="other").sign(TokenType.ACCESS, session, 60))
    await refused(visitor, ours().sign(TokenType.ACCESS, session, -10), "Access token has expired. Refresh token.")
    unknown = ours().sign(TokenType.ACCESS, "no-such-session", 60)
    await refused(visitor, unknown, "Session has expired. Please re-authenticate.")
    for wrong in (tokens["access_token"], ours(audience="other").sign(TokenType.REFRESH, session, 60, gen=0),
                  ours().sign(TokenType.REFRESH, session, -1, gen=0), "x", "x" * 9000):  # fmt: skip
        response = await visitor.post("/api/auth/session/refresh", json={"refresh_token": wrong})
        assert response.status_code in (400, 401)


async def test_scopes_in_a_token_are_not_looked_at(visitor):
    tokens = await log_in(visitor, "olga")
    session = opened(tokens["access_token"])[1]["sub"]
    greedy = ours().sign(TokenType.ACCESS, session, 60, scp=["write:queue:edit"], roles=["admin"])
    visitor.headers["Authorization"] = f"Bearer {greedy}"
    assert (await visitor.post("/api/queue/clear")).status_code == 403


async def test_secret_keys_are_changed_without_a_break(serve_logins, sanic_client, make_config, folder):
    first = await serve_logins(secret_keys=["the-old-secret-key"])
    tokens = await log_in(first, "bob")
    sections = settings(folder, secret_keys=["the-new-secret-key", "the-old-secret-key"])
    second = await sanic_client(app_of(make_config(**sections)))
    second.headers["Authorization"] = f"Bearer {tokens['access_token']}"
    assert (await second.get("/api/queue/get")).status_code == 200
    third = await sanic_client(app_of(make_config(**settings(folder, secret_keys=["the-new-secret-key"]))))
    third.headers["Authorization"] = f"Bearer {tokens['access_token']}"
    assert (await third.get("/api/queue/get")).status_code == 401


def test_a_token_without_what_it_needs_is_refused():
    key = ours()._signing
    for claims in ({}, {"type": "access"}, {"type": "access", "iss": "sanic-qserver", "aud": ["sanic-qserver"]}):
        with pytest.raises(InvalidAccessToken):
            ours().read(jwt.encode({"alg": "HS256"}, claims, key), TokenType.ACCESS)


async def test_failed_logins_must_wait_longer_and_longer(serve_logins):
    attempts = {"free": 3, "first_delay_s": 1.0, "longest_delay_s": 2.0}
    client = await serve_logins(attempts=attempts)
    wrong, right = ({"username": "bob", "password": word} for word in ("wrong", PASSWORDS["bob"]))
    for _ in range(3):
        assert (await client.post(TOKEN, data=wrong)).status_code == 401
    waits = []
    for _ in range(2):
        response = await client.post(TOKEN, data=right)
        assert response.status_code == 429, "the right password must wait as well"
        waits.append(int(response.headers["Retry-After"]))
        await asyncio.sleep(waits[-1])
        response = await client.post(TOKEN, data=wrong)
        assert response.status_code == 401
    assert waits == [1, 2]
    other = {"username": "olga", "password": PASSWORDS["olga"]}
    assert (await client.post(TOKEN, data=other)).status_code == 200, "others are not locked out"
    await asyncio.sleep(2)
    assert (await client.post(TOKEN, data=right)).status_code == 200
    assert (await client.post(TOKEN, data=right)).status_code == 200


async def test_unknown_accounts_wait_like_known_ones(serve_logins):
    client = await serve_logins(attempts={"free": 2})
    answers = {}
    for name in ("bob", "nobody"):
        replies = [await client.post(TOKEN, data={"username": name, "password": "wrong"}) for _ in range(4)]
        answers[name] = [(reply.status_code, reply.json()["detail"]) for reply in replies]
    assert answers["bob"] == answers["nobody"]
    assert answers["bob"][-1][0] == 429


async def test_an_address_that_tries_many_accounts_must_wait(serve_logins):
    client = await serve_logins(attempts={"free_by_address": 4})
    for number in range(4):
        await client.post(TOKEN, data={"username": f"user{number}", "password": "x"})
    assert (await client.post(TOKEN, data={"username": "user9", "password": "x"})).status_code == 429


async def test_an_unknown_user_takes_as_long_as_a_known_one(serve_logins):
    users = {"kind": "dictionary", "name": "toy", "users": {"bob": strong("builder-2")}}
    client = await serve_logins(users, attempts={"free": 1000, "free_by_address": 1000})
    times = {"bob": [], "nobody": []}
    for _ in range(9):
        for name, taken in times.items():
            start = time.perf_counter()
            await client.post(TOKEN, data={"username": name, "password": "wrong"})
            taken.append(time.perf_counter() - start)
    known, unknown = statistics.median(times["bob"]), statistics.median(times["nobody"])
    assert 0.4 < known / unknown < 2.5


def strong(password):
    from sanic_qserver.auth.providers.passwords import build_hasher
    from sanic_qserver.config.logins import PasswordsConfig

    return build_hasher(PasswordsConfig()).hash(password)


async def test_a_burst_of_logins_is_refused_beyond_the_pool_and_others_are_served(serve_logins):
    users = {"kind": "dictionary", "name": "toy", "users": {"bob": strong(PASSWORDS["bob"])}}
    client = await serve_logins(users, passwords={"threads": 1, "queue_limit": 3})
    form = {"username": "bob", "password": PASSWORDS["bob"]}
    burst = [asyncio.ensure_future(client.post(TOKEN, data=form)) for _ in range(30)]
    await asyncio.sleep(0.05)
    start = time.perf_counter()
    assert (await client.get("/healthz")).status_code == 200
    assert time.perf_counter() - start < 2
    replies = await asyncio.gather(*burst)
    codes = [reply.status_code for reply in replies]
    assert set(codes) == {200, 503}
    assert all(reply.headers["Retry-After"] for reply in replies if reply.status_code == 503)


async def test_credentials_that_are_too_long_are_refused_early(visitor):
    for headers in ({"Authorization": f"Bearer {'x' * 100_000}"}, {"Authorization": f"ApiKey {'x' * 100_000}"}):
        response = await visitor.get("/api/queue/get", headers=headers)
        assert response.status_code in (400, 401, 413, 431)
    long = {"username": "bob", "password": "x" * 2000}
    assert (await visitor.post(TOKEN, data=long)).status_code == 400


async def test_no_secret_stands_in_a_log_or_an_error(visitor, caplog, folder):
    caplog.set_level(logging.DEBUG)
    tokens = await log_in(visitor, "bob")
    key = (await visitor.post("/api/auth/apikey", json={"expires_in": 60})).json()["secret"]
    await visitor.get(f"/api/queue/get?api_key={key}")
    wrong = "the-wrong-secret-of-bob"
    texts = [
        (await visitor.post(TOKEN, data={"username": "bob", "password": wrong})).text,
        (await visitor.post("/api/auth/session/refresh", json={"refresh_token": wrong})).text,
        (await visitor.get("/api/queue/get", headers={"Authorization": f"ApiKey {wrong}"})).text,
        (await visitor.get("/api/queue/get", headers={"Authorization": f"Weird {wrong}"})).text,
    ]
    ours_ = "\n".join(
        record.getMessage() for record in caplog.records if not record.name.startswith(("http", "aiosql"))
    )
    for secret in (wrong, PASSWORDS["bob"], tokens["access_token"], tokens["refresh_token"], key, SECRET_KEY):
        assert secret not in ours_
        assert all(secret not in text for text in texts)


async def test_a_login_may_not_call_itself_the_single_user(serve_logins):
    from logins import CHEAP

    name = "UNAUTHENTICATED_SINGLE_USER"
    users = {"kind": "dictionary", "name": "toy", "users": {name: CHEAP.hash("x-12345678")}}
    client = await serve_logins(users)
    response = await client.post(TOKEN, data={"username": name, "password": "x-12345678"})
    assert response.status_code == 401


def test_a_plain_password_in_the_file_is_refused(folder):
    from sanic_qserver.config.settings import load

    file = folder / "config.toml"
    text = '[[auth.providers]]\nkind = "dictionary"\nname = "x"\n[auth.providers.users]\nbob = "{}"\n'
    file.write_text(text.format("plain-word"))
    with pytest.raises(ConfigError, match="bob"):
        load(file, environment={})
    file.write_text(text.format("${BOB}"))
    assert load(file, environment={"BOB": "from-outside"}).auth.providers[0].users["bob"] == "from-outside"


async def test_a_password_from_the_environment_lets_in(serve_logins):
    client = await serve_logins({**dictionary(), "users": {"bob": "plain-from-env"}})
    good = {"username": "bob", "password": "plain-from-env"}
    assert (await client.post(TOKEN, data=good)).status_code == 200
    assert (await client.post(TOKEN, data={**good, "password": "other"})).status_code == 401


async def test_a_database_that_is_away_is_503_not_500(visitor):
    await log_in(visitor, "bob")
    assert (await visitor.get("/api/queue/get")).status_code == 200
    database = visitor.app.ctx.services.logins.accounts.database
    engine, database.engine = database.engine, broken_engine()
    try:
        assert (await visitor.get("/api/queue/get")).status_code == 200, "a hot token needs no database"
        response = await visitor.post(TOKEN, data={"username": "bob", "password": PASSWORDS["bob"]})
        assert response.status_code == 503
        assert response.headers["Retry-After"]
        assert "sqlite" not in response.text
        for _ in range(50):
            ready = await visitor.get("/readyz")
            if ready.json()["checks"]["database"] != "ok":
                break
            await asyncio.sleep(0.1)
        assert ready.status_code == 503
    finally:
        await database.engine.dispose()
        database.engine = engine


def broken_engine():
    from sqlalchemy.ext.asyncio import create_async_engine

    return create_async_engine("sqlite+aiosqlite:////no/such/folder/x.sqlite")
