"""Callers without a credential: they hold nothing, unless the site lets them read the status."""

import re

import pytest
from conftest import app_of, until_connected

from sanic_qserver.api.table import ENDPOINTS, STREAMS
from sanic_qserver.config.settings import load
from sanic_qserver.scopes import listed

PUBLIC_ROWS = {"/"}
LOGINS = {row.path for row in ENDPOINTS if row.ignores_credential}
OWN_SCOPES = {"/auth/scopes", "/auth/logout"}  # Tell the caller what they hold, and take cookies away: harmless.
CLOSED = [
    row
    for row in (*ENDPOINTS, *STREAMS)
    if row.path not in PUBLIC_ROWS | LOGINS | OWN_SCOPES and not row.path.endswith("/ws")
]  # A websocket closes with 4401: tests/integration/http/stream/test_websockets.py


@pytest.mark.parametrize("row", CLOSED, ids=lambda row: f"{getattr(row, 'verb', 'GET')} {row.path}")
def test_without_a_credential_every_row_but_the_way_in_is_refused(served, row):
    sent = served.sent
    path = "/api" + re.sub(r"<[^>]*>", "x", row.path)
    response = served.client.request(getattr(row, "verb", "GET"), path)
    assert response.status_code == 401, response.text
    expected = "No API key was" if row.path == "/auth/apikey" and row.verb == "GET" else "Not enough permissions"
    assert response.json()["detail"].startswith(expected)
    assert served.sent == sent


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/docs", "/openapi.json", "/api/", "/ui"])
def test_health_the_about_page_and_the_documentation_need_no_credential(served, path):
    assert served.client.get(path).status_code == 200


def test_who_asks_without_a_credential_is_told_that_they_hold_nothing(served):
    assert served.client.get("/api/auth/scopes").json() == {"roles": [], "scopes": []}


async def test_a_site_may_let_the_anonymous_read_the_status(sanic_client, make_config):
    client = await sanic_client(app_of(make_config(auth={"allow_anonymous_access": True})))
    await until_connected(client)
    scopes = {"roles": ["unauthenticated_public"], "scopes": ["read:status"]}
    assert (await client.get("/api/auth/scopes")).json() == scopes
    assert (await client.get("/api/status")).json()["msg"].startswith("RE Manager")
    assert (await client.get("/api/queue/get")).status_code == 401


@pytest.mark.parametrize(("value", "is_allowed"), [("1", True), ("0", False), ("true", True)])
def test_the_environment_variable_of_the_reference_allows_it(value, is_allowed):
    config = load(environment={"QSERVER_HTTP_SERVER_ALLOW_ANONYMOUS_ACCESS": value})
    assert config.auth.allow_anonymous_access is is_allowed


@pytest.mark.parametrize(
    ("yaml", "environment", "is_allowed"),
    [
        ("authentication: {allow_anonymous_access: true}", "", True),
        ("authentication: {allow_anonymous_access: false}", "1", False),
        ("authentication: {single_user_api_key: abc}", "1", True),
        ("authentication: {single_user_api_key: abc}", "", False),
    ],
)
@pytest.mark.parametrize("roles", ["", "unauthenticated_public: {scopes_add: read:status}"])
def test_the_yaml_key_of_the_reference_wins_over_its_environment(folder, yaml, environment, is_allowed, roles):
    policy = "bluesky_httpserver.authorization:BasicAPIAccessControl"
    access = f"\napi_access: {{policy: '{policy}', args: {{roles: {{{roles}}}}}}}" if roles else ""
    (folder / "old.yml").write_text(yaml + access)
    env = {"QSERVER_HTTP_SERVER_ALLOW_ANONYMOUS_ACCESS": environment} if environment else {}
    app = app_of(load(folder / "old.yml", environment=env))
    public = app.ctx.policies.access.permissions.scopes["unauthenticated_public"]
    assert public == ({"read:status"} if is_allowed else set())


def test_scopes_that_only_the_reference_knows_are_reported_and_grant_nothing(folder, capsys):
    from sanic_qserver.policy.access.windows import Clock
    from sanic_qserver.structs.identity import SINGLE_USER

    policy = "bluesky_httpserver.authorization:BasicAPIAccessControl"
    (folder / "old.yml").write_text(
        f"api_access: {{policy: '{policy}', args: {{roles: {{unauthenticated_single_user:"
        " {scopes_set: [read:status, 'write:queue', 'write:old'], scopes_remove: ['write:old', 'read:lock']}}}}"
    )
    app = app_of(load(folder / "old.yml", environment={}))
    access = app.ctx.policies.access.permissions.access_of(SINGLE_USER, Clock())
    assert access.scopes == {"read:status", "write:queue"}
    assert listed(access.scopes) == ["read:status", "write:queue"]
    assert [line for line in app.ctx.services.warnings if "there is no scope 'write:queue'" in line]


def test_an_unknown_scope_in_a_policy_of_ones_own_is_a_mistake(folder):
    from sanic_qserver.errors import ConfigError

    (folder / "permissions.yaml").write_text("roles: {user: {scopes_add: 'write:queue'}}")
    overrides = {"policy": {"permissions": str(folder / "permissions.yaml")}}
    with pytest.raises(ConfigError, match="'write:queue' matches no scope"):
        app_of(load(environment={}, overrides=overrides))


def test_the_right_to_ones_own_items_is_not_listed_beside_the_full_right():
    from sanic_qserver.policy.access.permissions import Permissions
    from sanic_qserver.policy.access.windows import Clock
    from sanic_qserver.policy.files.documents import parse_document
    from sanic_qserver.structs.identity import SINGLE_USER

    text = "roles: {unauthenticated_single_user: {scopes: ['write:queue:edit', 'write:queue:edit:own']}}"
    access = Permissions(parse_document(text, "p")).access_of(SINGLE_USER, Clock())
    assert listed(access.scopes) == ["write:queue:edit"]
