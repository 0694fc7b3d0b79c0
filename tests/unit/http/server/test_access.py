"""What the access log keeps for a head that comes again is said only where it is still so."""

import json
from time import perf_counter
from types import SimpleNamespace

import pytest
from sanic.compat import Header

from sanic_qserver.http.server.access import AccessLog
from sanic_qserver.http.server.request import DirectRequest, OfHead
from sanic_qserver.http.server.response import Reply
from sanic_qserver.structs.identity import Principal

ANN, BOB = Principal(name="ann", provider="ldap"), Principal(name="bob", provider="ldap")


@pytest.fixture
async def note():
    """Note an answer, with all requests having the same head, and read its line."""
    of_head, written = OfHead(), []
    log = AccessLog("json", written.append)

    def note(status, principal=None, body=b"{}", **context):
        request = DirectRequest(b"/api/status?api_key=secret", Header({}), "1.1", "GET", None, None)
        request.conn_info = SimpleNamespace(client_ip="192.0.2.7")
        request.known_of_head = of_head
        request.ctx.__dict__.update(context, **({} if principal is None else {"principal": principal}))
        log.note(request, Reply(body, status, {}, "application/json"), perf_counter(), False)
        log.flush()
        return json.loads(written.pop())

    return note


async def test_status_size_and_caller_are_those_of_each_answer(note):
    said = [note(200, ANN), note(200, ANN, b"[1,2]"), note(429, ANN), note(200, BOB), note(401), note(200, ANN)]
    assert [line["status"] for line in said] == [200, 200, 429, 200, 401, 200]
    assert [line["bytes"] for line in said] == [2, 5, 2, 2, 2, 2]
    callers = ["ldap:ann", "ldap:ann", "ldap:ann", "ldap:bob", None, "ldap:ann"]
    assert [line.get("principal") for line in said] == callers
    assert [f"-> {line['status']}" in line["message"] for line in said] == [True] * 6


async def test_the_id_of_request_and_trace_are_those_of_each_answer(note):
    said = [note(200, ANN, request_id="one", trace_id="t1"), note(200, ANN, request_id="two"), note(200, ANN)]
    assert [line.get("trace_id") for line in said] == ["t1", None, None]
    assert [line["request_id"] for line in said[:2]] == ["one", "two"]
    assert said[2]["request_id"] not in {"one", "two", ""}


async def test_the_query_is_never_told(note):
    assert "secret" not in json.dumps(note(200, ANN))
