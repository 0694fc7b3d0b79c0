"""Every failure is a problem document with a stable code and the request id, in body, header and log."""

import asyncio
import logging
import socket

import pytest
from conftest import KEY, app_of

from sanic_qserver import errors
from sanic_qserver.api.endpoint import Endpoint
from sanic_qserver.auth.providers.ldap import DirectoryAway
from sanic_qserver.auth.providers.openid import ProviderAway
from sanic_qserver.http.errors import PROBLEM, problem, respond

MEMBERS = {"type", "title", "status", "detail", "code", "request_id"}


def all_errors(kind=errors.GatewayError):
    for sub in kind.__subclasses__():
        yield sub
        yield from all_errors(sub)


def is_problem(response, status, code):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == PROBLEM
    body = response.json()
    assert set(body) >= MEMBERS
    assert isinstance(body["detail"], str)
    assert body["code"] == code
    assert body["status"] == status
    assert body["request_id"] == response.headers["x-request-id"]
    return body


@pytest.mark.parametrize("kind", sorted({*all_errors(), DirectoryAway, ProviderAway}, key=lambda kind: kind.__name__))
def test_every_error_has_a_code_a_title_and_a_status(kind):
    body = problem(kind("why", extra={"more": 1}), "id")
    assert body["code"].replace("_", "").isalnum()
    assert 400 <= body["status"] < 600
    assert body["title"]
    assert body["more"] == 1


def test_an_unknown_path_is_404(served):
    is_problem(served.client.get("/api/no/such/path"), 404, "not_found")


def test_a_wrong_method_is_405_with_allow(served):
    response = served.client.post("/api/status")
    is_problem(response, 405, "method_not_allowed")
    assert "GET" in response.headers["allow"]


def test_a_bad_key_is_401(served):
    for headers in ({"Authorization": "ApiKey wrong"}, {"Authorization": "apikey wrong"}):
        body = is_problem(served.client.get("/api/status", headers=headers), 401, "invalid_api_key")
        assert body["detail"] == "Invalid API key"
    is_problem(served.client.get("/api/status?api_key=wrong"), 401, "invalid_api_key")


def test_a_bad_token_is_401_with_www_authenticate(served):
    response = served.client.get("/api/status", headers={"Authorization": "Bearer x.y.z"})
    body = is_problem(response, 401, "invalid_access_token")
    assert body["detail"].startswith("Could not validate credentials")
    assert response.headers["www-authenticate"]


@pytest.mark.parametrize("scheme", ["ApiKey", "apikey", "APIKEY", "Apikey"])
def test_the_word_apikey_is_known_in_any_letter_case(served, scheme):
    key = served.key["Authorization"].split()[1]
    response = served.client.get("/api/queue/get", headers={"Authorization": f"{scheme} {key}"})
    assert response.status_code == 200
    assert served.client.get(f"/api/queue/get?api_key={key}").status_code == 200


def test_the_clients_request_id_is_kept_when_it_is_harmless(served):
    response = served.client.get("/api/nothing", headers={"X-Request-ID": "scan-42"})
    assert is_problem(response, 404, "not_found")["request_id"] == "scan-42"
    for harmful in ("a b", "x" * 200, "<script>"):
        response = served.client.get("/api/nothing", headers={"X-Request-ID": harmful})
        assert response.headers["x-request-id"] != harmful
    assert served.client.get("/api/status", headers={"X-Request-ID": "ok-1"}).headers["x-request-id"] == "ok-1"


def test_a_deeply_nested_body_is_422(served):
    for depth in (201, 5_000, 500_000):
        body = b'{"item":{"a":' + b"[" * depth + b"]" * depth + b"}}"
        response = served.client.post("/api/queue/item/add", content=body, headers=served.key)
        is_problem(response, 422, "unreadable_body")


def test_brackets_inside_strings_are_not_nesting(served):
    item = {"item_type": "plan", "name": "count", "args": [["det1"]], "meta": {"text": "[{" * 3000}}
    response = served.client.post("/api/queue/item/add", json={"item": item}, headers=served.key)
    assert response.json()["success"], response.text
    assert response.json()["item"]["meta"] == item["meta"]


def test_a_body_of_another_kind_is_415(served):
    headers = {**served.key, "Content-Type": "image/png"}
    is_problem(
        served.client.post("/api/queue/start", content=b"\x89PNG", headers=headers), 415, "unsupported_media_type"
    )
    response = served.client.post("/api/queue/start", files={"x": b"y"}, headers=served.key)
    is_problem(response, 415, "unsupported_media_type")


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"  ", b"\n"])
def test_an_empty_body_is_no_arguments(served, body):
    headers = {**served.key, "Content-Type": "application/json"}
    assert served.client.post("/api/queue/stop/cancel", content=body, headers=headers).json()["success"]


def test_arguments_in_the_query_are_converted_and_the_body_wins(served):
    both = served.client.request("GET", "/api/queue/item/get?pos=7", json={"pos": 8}, headers=served.key)
    assert "'8'" in both.json()["msg"]
    assert "'7'" in served.client.get("/api/queue/item/get?pos=7", headers=served.key).json()["msg"]
    bad = served.client.get("/api/queue/item/get?pos=seven", headers=served.key)
    assert "pos=seven" in bad.json()["msg"]
    statuses = served.client.get("/api/task/status?task_uid=a&task_uid=b", headers=served.key).json()
    assert statuses["status"] == {"a": "not_found", "b": "not_found"}


def test_user_and_user_group_of_the_client_are_overwritten(served):
    item = {"item_type": "plan", "name": "count", "args": [["det1"]]}
    body = {"item": item, "user": "GUI Client", "user_group": "root"}
    added = served.client.post("/api/queue/item/add", json=body, headers=served.key).json()["item"]
    assert added["user"] == "UNAUTHENTICATED_SINGLE_USER"
    assert added["user_group"] == "primary"


def test_an_unexpected_error_is_masked_for_the_client_and_logged_with_its_id(caplog):
    class Request:
        class Ctx:
            pass

        method, path, headers = "GET", "/x", {}
        ctx = Ctx()

    with caplog.at_level(logging.ERROR):
        response = respond(RuntimeError("the password is hunter2"), Request())
    assert response.status == 500
    assert b"hunter2" not in response.body
    assert Request.ctx.request_id in caplog.text


async def test_a_body_over_the_limit_is_413(sanic_client, make_config):
    client = await sanic_client(app_of(make_config(server={"max_body_bytes": 10_000})))
    client.headers["Authorization"] = f"ApiKey {KEY}"
    response = await client.post("/api/queue/item/add", content=b"x" * 20_000)
    is_problem(response, 413, "body_too_large")


@pytest.mark.parametrize(
    "raw",
    [
        b"GARBAGE\r\n\r\n",
        b"GET /api/status HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"GET /api/status HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /api/status HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
        b"GET /%ff%fe?pos=%ff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /api/queue/item/get?pos=%ff%fe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ],
)
def test_malformed_http_is_a_4xx_and_never_a_500(served, raw):
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        connection.sendall(raw)
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 4"), answer[:200]
    assert served.client.get("/healthz").status_code == 200


_STOP = f"POST /api/queue/stop HTTP/1.1\r\nHost: x\r\nAuthorization: ApiKey {KEY}\r\nContent-Length: 500\r\n\r\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "part",
    [b"GET /api/status HTTP/1.1\r\nHost: x\r\n", _STOP.encode()],
    ids=["header", "body"],
)
async def test_a_request_that_drips_is_cut_off(sanic_client, make_config, part):
    client = await sanic_client(app_of(make_config(server={"body_timeout_s": 1.0})))
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)

    async def drip():
        writer.write(part)
        while True:
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(0.2)

    dripping = asyncio.create_task(drip())
    answer = await asyncio.wait_for(reader.read(), 15)
    dripping.cancel()
    writer.close()
    await asyncio.gather(dripping, writer.wait_closed(), return_exceptions=True)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"request_too_slow" in answer


def test_the_table_of_errors_in_the_openapi_document_is_complete():
    from sanic_qserver.http.openapi import ERRORS

    assert {"400", "401", "403", "408", "413", "415", "422", "429", "503"} <= set(ERRORS)
    assert isinstance(Endpoint("GET", "/x", None, "x").name, str)
