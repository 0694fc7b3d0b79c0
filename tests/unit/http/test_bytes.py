"""Every header, query, cookie, path and form name with bytes that nobody expects: never 500, never a traceback."""

import asyncio
import itertools
from urllib.parse import quote_from_bytes

import pytest
from conftest import KEY, app_of
from fuzzing import BEGINNINGS, HEADERS, NASTY, send
from logins import settings

from sanic_qserver.config.settings import load

CLOSE = b"Connection: close\r\n"
WEBSOCKET = b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
ASKED = [
    b"GET /api/status", b"POST /api/queue/item/add", b"POST /api/queue/item/add/stream", b"GET /api/auth/whoami",
    b"POST /api/auth/provider/toy/token", b"OPTIONS /api/status", b"GET /docs", b"GET /nothing",
]  # fmt: skip


@pytest.fixture
async def server(serve_alone, tmp_path):
    """A server with logins and an audit table."""
    audit = {"database": f"sqlite:///{tmp_path}/audit.sqlite", "log": False}
    return await serve_alone(**{**settings(tmp_path), "audit": audit})


async def ask(server, requests):
    """The statuses of these requests, in order; 0 for a connection that ends without an answer."""

    async def one(request):
        answer = await send(server.port, request)
        return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0

    statuses = []
    for start in range(0, len(requests), 25):
        statuses += await asyncio.gather(*map(one, requests[start : start + 25]))
    return statuses


def refuse_500(requests, statuses):
    assert [(status, request) for request, status in zip(requests, statuses, strict=True) if status in (0, 500)] == []


@pytest.mark.slow
async def test_no_header_makes_an_error_of_the_server(server):
    requests = [
        asked + b" HTTP/1.1\r\n" + (b"" if name == b"Host" else b"Host: x\r\n") + CLOSE
        + (WEBSOCKET if name.startswith(b"Sec-") else b"") + name + b": " + before + value + b"\r\n\r\n"
        for name, value in itertools.product(HEADERS, NASTY) if name != b"Connection"
        for asked, before in itertools.product(
            ASKED if name in BEGINNINGS or name == b"Content-Type" else ASKED[:2], BEGINNINGS.get(name, [b""])
        )
    ]  # fmt: skip
    refuse_500(requests, await ask(server, requests))


async def test_credentials_that_are_no_text_are_refused_with_401(server):
    values = [b"ApiKey \xff", b"B\xe5r x", b"Bearer \xed\xa0\x80", b"ApiKey a\xc3", b"\xff", b"Basic \xff\xfe"]
    headers = [b"Authorization: " + value for value in values]
    headers += [b"Cookie: sanic_qserver_session=\xff", b"Cookie: sanic_qserver_session=a\xed\xa0\x80; \xff=\xff"]
    requests = [b"GET /api/status HTTP/1.1\r\nHost: x\r\n" + CLOSE + header + b"\r\n\r\n" for header in headers]
    requests += [
        b"GET /api/status?" + name + b"=" + value + b" HTTP/1.1\r\nHost: x\r\n" + CLOSE + b"\r\n"
        for name in (b"api_key", b"access_token", b"ticket")
        for value in (b"%00", b"a%0db", b"%ff", b"%ED%A0%80", b"%1b")
    ]
    assert set(await ask(server, requests)) == {401}
    for _ in range(600):  # The audit table goes on after all of them.
        if len(await server.app.ctx.services.audit.table.find(_everything())) >= 10:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the audit table holds nothing")


def _everything():
    from sanic_qserver.structs.audit import AuditGet

    return AuditGet()


@pytest.mark.slow
async def test_no_query_path_or_form_makes_an_error_of_the_server(server):
    keyed = b" HTTP/1.1\r\nHost: x\r\n" + CLOSE
    values = [quote_from_bytes(value).encode() for value in NASTY]
    names = [
        b"api_key",
        b"access_token",
        b"ticket",
        b"csrf",
        b"next",
        b"pos",
        b"item",
        b"uid",
        b"code",
        b"state",
        *values[:12],
    ]
    requests = [
        b"GET /api/" + path + b"?" + name + b"=" + value + keyed + b"\r\n"
        for path in (b"status", b"queue/get", b"auth/provider/toy/authorize", b"auth/provider/toy/code")
        for name, value in itertools.product(names, values)
    ]
    requests += [
        b"GET /api/" + path + value + keyed + b"\r\n"
        for path in (b"", b"queue/item/", b"auth/principal/", b"auth/provider/", b"auth/session/revoke/")
        for value in values
    ]
    for name, value in itertools.product([b"username", b"password", b"grant_type", b"scope", *values[:12]], values):
        body = name + b"=" + value
        form = b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n" % len(body)
        requests.append(b"POST /api/auth/provider/toy/token" + keyed + form + body)
    refuse_500(requests, await ask(server, requests))


@pytest.mark.parametrize("path", [b"/api/status", b"/api/events", b"/api/queue/item/add"])
async def test_a_query_of_1500_parameters_is_refused(server, path):
    query = b"&".join(b"a%d=1" % number for number in range(1000)) + b"&api_key=x"
    verb = b"POST " if path.endswith(b"add") else b"GET "
    requests = [verb + path + b"?" + query + b" HTTP/1.1\r\nHost: x\r\n" + CLOSE + b"\r\n"]
    assert set(await ask(server, requests)) <= {400, 413, 422}


async def test_an_origin_that_is_no_url_is_a_foreign_one(sanic_client):
    config = load(environment={}, overrides={"auth": {"single_user_api_key": KEY}})
    server = await sanic_client(app_of(config))
    for origin in ("http://[", "http://[::1", "null", "\\", "http://]"):
        assert (await server.post("/api/queue/start", headers={"Origin": origin})).status_code in (401, 403)
