"""The table: every row of it, and the router that is made from it."""

import re

import msgspec
import pytest
from conftest import KEY, Served, app_of
from msgspec import UnsetType

from sanic_qserver.api.endpoint import Endpoint, LinesEndpoint
from sanic_qserver.api.table import ENDPOINTS, STREAMS
from sanic_qserver.config.settings import load
from sanic_qserver.http.decode import Decoder
from sanic_qserver.scopes import DESCRIPTIONS, Scope
from sanic_qserver.structs.requests import Params

PUBLIC_PATHS = {"healthz", "readyz", "openapi.json", "api/openapi.json", "docs", "docs/assets/<name:str>",
                "ui", "ui/", "ui/static/<name:str>"}  # fmt: skip
# Answered by a page for browsers and by the row "/ping" for programs.
FIRST_PAGE = ""

NOBODY = """
roles:
  unauthenticated_single_user: {scopes: ["read:*", "write:*"]}
  unauthenticated_public: {scopes: []}
"""


def ways(row):
    """Every verb and path that leads to a row."""
    paths = [(row.verb, row.path), *row.aliases]
    prefixes = ("/api", "") if row.at_root else ("/api",)
    return [(verb, prefix + re.sub(r"<[^>]+>", "x", path)) for verb, path in paths for prefix in prefixes]


every_row = pytest.mark.parametrize("row", ENDPOINTS, ids=lambda row: row.name)


EVERYTHING = """
roles:
  unauthenticated_single_user: {scopes: ["*"]}
  unauthenticated_public: {scopes: ["read:status"]}
"""


@pytest.fixture(scope="module")
def served(instrument, tmp_path_factory):
    """A server whose key may do everything: every row can be walked."""
    policy = tmp_path_factory.mktemp("policy") / "permissions.yaml"
    policy.write_text(EVERYTHING)
    overrides = {"auth": {"single_user_api_key": KEY}, "policy": {"permissions": str(policy)}}
    served = Served(app_of(load(environment=instrument.environment, overrides=overrides)))
    yield served
    served.close()


@pytest.fixture(scope="module")
def closed(instrument, tmp_path_factory):
    """A server whose anonymous callers may do nothing at all."""
    policy = tmp_path_factory.mktemp("policy") / "permissions.yaml"
    policy.write_text(NOBODY)
    overrides = {"auth": {"single_user_api_key": KEY}, "policy": {"permissions": str(policy)}}
    served = Served(app_of(load(environment=instrument.environment, overrides=overrides)))
    yield served
    served.close()


@pytest.mark.parametrize(
    ("row", "verb", "path"),
    [(row, verb, path) for row in ENDPOINTS if row.scope is not None for verb, path in ways(row)],
    ids=lambda value: "" if isinstance(value, Endpoint) else str(value),
)
def test_a_caller_without_the_scope_never_reaches_the_manager(closed, row, verb, path):
    before = closed.sent
    response = closed.client.request(verb, path)
    assert response.status_code == 401
    assert response.json()["detail"].startswith("Not enough permissions")
    assert str(row.scope) in response.json()["detail"]
    assert closed.sent == before


# Websockets are refused after the handshake: tests/integration/http/stream/test_websockets.py.
@pytest.mark.parametrize(
    "stream", [row for row in STREAMS if row.scope and not row.is_websocket], ids=lambda row: row.name
)
def test_a_caller_without_the_scope_watches_no_stream(closed, stream):
    assert closed.client.get("/api" + stream.path).status_code == 401


# OAuth's forms and callbacks hold what others define.
@pytest.mark.parametrize(
    "row", [row for row in ENDPOINTS if row.params.__struct_config__.forbid_unknown_fields], ids=lambda row: row.name
)
def test_unknown_parameters_are_named_and_the_supported_ones_listed(served, row):
    before = served.sent
    path = ways(row)[0][1]
    # A body of lines is no place for parameters: there they stand in the query.
    sent = {"params" if isinstance(row, LinesEndpoint) else "json": {"bogus": 1, "more_bogus": 2}}
    response = served.client.request(row.verb, path, **sent, headers=served.key)
    assert response.status_code == 400
    assert "Request contains keys the are not supported: {'bogus', 'more_bogus'}" in response.json()["detail"]
    for field in msgspec.structs.fields(row.params):
        if field.name not in ("user", "user_group"):
            assert field.name in response.json()["detail"]
    assert served.sent == before


def wrong_values():
    """For every typed field of every row, a value of a wrong type."""
    for row in ENDPOINTS:
        if row.reads_form or isinstance(row, LinesEndpoint):
            continue
        for field in msgspec.structs.fields(row.params):
            wrong = next((value for value in (1.5, [1.5], "x") if not _fits(value, field.type)), None)
            if _fits(wrong, field.type):
                continue
            yield pytest.param(row, field.name, wrong, id=f"{row.name}-{field.name}")


def _fits(value, kind):
    try:
        msgspec.convert(value, kind)
    except (msgspec.ValidationError, TypeError):
        return False
    return kind is not UnsetType


@pytest.mark.parametrize(("row", "field", "wrong"), list(wrong_values()))
def test_a_wrong_type_is_400_with_the_path_of_the_field(served, row, field, wrong):
    before = served.sent
    verb, path = ways(row)[0]
    response = served.client.request(verb, path, json={field: wrong}, headers=served.key)
    assert response.status_code == 400, response.text
    assert response.json()["code"] == "bad_arguments"
    assert response.json()["field"].startswith(field) or "required" in response.json()["detail"]
    assert served.sent == before


# In a body of lines each line is looked at by itself: tests/integration/api/bulk/test_bulk.py.
@pytest.mark.parametrize(
    "row", [row for row in ENDPOINTS if not isinstance(row, LinesEndpoint)], ids=lambda row: row.name
)
def test_a_body_that_is_no_object_is_422(served, row):
    verb, path = ways(row)[0]
    for body in (b"[]", b'"text"', b"1", b"{", b'{"a":', b"\xff\xfe", b"[" * 60_000):
        response = served.client.request(verb, path, content=body, headers=served.key)
        assert response.status_code == 422, (body[:10], response.text)
        assert isinstance(response.json()["detail"], str)


@every_row
def test_a_row_has_a_struct_a_scope_that_is_described_and_a_summary(row):
    assert issubclass(row.params, Params)
    assert row.scope is None or row.scope in DESCRIPTIONS
    assert row.summary.endswith(".")
    assert row.params is not Params


def test_every_scope_is_described():
    assert set(DESCRIPTIONS) == set(Scope)


def test_names_and_ways_are_unique():
    names = [row.name for row in ENDPOINTS]
    assert len(names) == len(set(names))
    all_ways = [way for row in ENDPOINTS for way in ways(row)]
    assert len(all_ways) == len(set(all_ways))


def test_a_route_without_a_row_is_declared_public(served):
    rowless = {
        route.path
        for route in served.app.router.routes
        if not hasattr(route.ctx, "row") and set(route.methods) != {"OPTIONS"}
    }
    assert rowless - {FIRST_PAGE} == PUBLIC_PATHS


@pytest.mark.parametrize("path", ["/api/status", "/api/status/", "/status", "/status/", "/api/ping", "/"])
def test_paths_answer_with_and_without_slash_and_prefix(served, path):
    response = served.client.get(path, follow_redirects=False)
    assert response.status_code == 200
    assert response.json()["msg"].startswith("RE Manager")


@pytest.mark.parametrize("path", ["/api/queue/get", "/api/plans/allowed", "/docs", "/openapi.json"])
def test_head_and_options_answer_at_every_path(served, path):
    head = served.client.head(path, headers=served.key)
    assert head.status_code == 200
    assert not head.content
    options = served.client.options(path)
    assert options.status_code == 204
    assert "GET" in options.headers["allow"]


@pytest.mark.parametrize(
    "row",
    [row for row in ENDPOINTS if not any(field.required for field in msgspec.structs.fields(row.params))],
    ids=lambda row: row.name,
)
def test_null_for_an_optional_parameter_is_the_same_as_not_sent(row):
    decoder = Decoder(row.params, max_nesting=100, forward_unknown=False)
    nulls = {
        field.name: None for field in msgspec.structs.fields(row.params) if field.name not in ("user", "user_group")
    }
    assert decoder.decode(msgspec.json.encode(nulls), "", "")[0] == row.params()
