"""Credentials that were tampered with: each is refused with 401, none makes an error of the server.

`FUZZ_TOKENS` and `FUZZ_SEED` ask for more, or for others.
"""

import base64
import json
import os
import random

import pytest
from logins import settings

from unit.http.test_bytes import CLOSE, ask

COUNT = int(os.environ.get("FUZZ_TOKENS", "600"))
SEED = int(os.environ.get("FUZZ_SEED", "11"))
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/~"


@pytest.fixture
async def server(serve_alone, tmp_path):
    """A server with logins."""
    return await serve_alone(**settings(tmp_path, attempts={"rejected_credentials": 1_000_000}))


def encode(part):
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def tamper(token, dice):
    """The token, changed in one way that makes it another."""
    parts = token.split(".")
    at = dice.randrange(len(token) - 8)  # The last characters of a signature may hold bits that mean nothing.
    other = dice.choice([one for one in ALPHABET if one != token[at]])
    ways = [
        token[:at] + other + token[at + 1 :],
        token[:at],
        token[:at] + token[at + 1 :],
        token + dice.choice(ALPHABET) * dice.randrange(1, 50),
        "".join(dice.choice(ALPHABET) for _ in range(dice.randrange(1, 400))),
        ".".join(dice.sample(parts, len(parts))[::-1]) + ".",
    ]
    if len(parts) == 3:
        none = encode({"alg": dice.choice(["none", "None", "HS256", "RS256", "HS512", ""]), "typ": "JWT"})
        claims = encode({"sub": dice.choice(["admin", 0, None, [], {"a": 1}]), "exp": dice.choice([2**70, "x", -1, 0])})
        ways += [
            f"{none}.{parts[1]}.",
            f"{none}.{claims}.",
            f"{parts[0]}.{claims}.{parts[2]}",
            f"{none}.{parts[1]}.{parts[2]}",
        ]
    return dice.choice([way for way in ways if way and way != token])


async def test_a_credential_that_was_tampered_with_is_refused_and_never_an_error(server):
    login = {"username": "alice", "password": "wonderland-1"}
    reply = await server.post("/api/auth/provider/toy/token", data=login)
    assert reply.status_code == 200, reply.text
    tokens = reply.json()
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    made = await server.post("/api/auth/apikey", json={"expires_in": 900, "scopes": ["inherit"]}, headers=bearer)
    key = made.json()["secret"]
    dice = random.Random(SEED)
    ways = [
        (tokens["access_token"], "Authorization: Bearer {}"),
        (tokens["refresh_token"], "Authorization: Bearer {}"),
        (key, "Authorization: ApiKey {}"),
        (tokens["access_token"], "Cookie: sanic_qserver_session={}"),
    ]
    lines = [line.format(tamper(token, dice)) for token, line in (dice.choice(ways) for _ in range(COUNT))]
    lines += [line.format(token) for token, line in ways[1:2]]  # A refresh token is no access token.
    requests = [
        f"GET /api/auth/whoami HTTP/1.1\r\nHost: localhost\r\n{line}\r\n".encode() + CLOSE + b"\r\n" for line in lines
    ]
    statuses = await ask(server, requests)
    assert {(status, line) for status, line in zip(statuses, lines, strict=True) if status != 401} == set()
