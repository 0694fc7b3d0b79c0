"""The pages for people, and the document behind them. Seen in headless Chromium with the network cut."""

import json
import os
import shutil
import subprocess

import openapi_spec_validator
import pytest
from conftest import KEY, ROOT, app_of, needs

from sanic_qserver.api.endpoint import LinesEndpoint
from sanic_qserver.api.table import ENDPOINTS, STREAMS
from sanic_qserver.http.openapi import document

COMMITTED = ROOT / "docs" / "openapi.json"
CHROMIUM = "/usr/bin/chromium"


@pytest.fixture(scope="module")
def description():
    return json.loads(json.dumps(document(ENDPOINTS, STREAMS)))


def test_the_openapi_document_is_valid(description):
    openapi_spec_validator.validate(description)
    assert description["openapi"].startswith("3.1")


def test_the_committed_copy_is_the_document_of_the_table(description):
    assert json.loads(COMMITTED.read_text("utf-8")) == description, (
        "run: python -m sanic_qserver openapi > docs/openapi.json"
    )


@pytest.mark.parametrize("row", ENDPOINTS, ids=lambda row: row.name)
def test_every_row_is_described_with_its_scope_reply_and_errors(description, row):
    operation = description["paths"][_described(row.path)][row.verb.lower()]
    assert operation["summary"] == row.summary
    assert operation.get("x-scope") == (str(row.scope) if row.scope else None)
    assert {"200", "400", "401", "403", "408", "422", "429", "503"} <= set(operation["responses"])
    if isinstance(row, LinesEndpoint):
        assert operation["responses"]["200"]["content"].keys() == {"application/x-ndjson"}
    elif row.method:
        assert operation["responses"]["200"]["content"]["application/json"]["schema"], row.path


def _described(path):
    import re

    return "/api" + re.sub(r"<(\w+)(?::\w+)?>", r"{\1}", path)


def test_operation_ids_are_unique(description):
    ids = [operation["operationId"] for path in description["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids))


def test_required_fields_literals_and_types_survive_into_the_schema(description):
    schemas = description["components"]["schemas"]
    assert schemas["Refresh"]["required"] == ["refresh_token"]
    assert "user" not in schemas["QueueItemAdd"]["properties"]
    assert set(schemas["QueueItemAddStream"]["properties"]["results"]["anyOf"][0]["enum"]) == {"all", "failed"}
    assert schemas["StatusReply"]["properties"]["items_in_queue"]["type"] == "integer"


async def test_no_page_names_anything_on_another_host(client):
    for path in ("/docs", "/docs/assets/start.js"):
        response = await client.get(path)
        assert response.status_code == 200
        assert "http://" not in response.text
        assert "https://" not in response.text
        assert "default-src 'none'" in response.headers["content-security-policy"]
    assert (await client.get("/docs/assets/swagger-ui-bundle.js")).status_code == 200
    for missing in ("index.html", "..%2f__init__.py", "swagger-ui.js.map"):
        assert (await client.get(f"/docs/assets/{missing}")).status_code == 404


@pytest.mark.slow
def test_the_documentation_shows_in_a_browser_whose_network_is_cut(served, folder):
    needs(CHROMIUM)
    from playwright.sync_api import sync_playwright

    foreign, broken = [], []
    with sync_playwright() as playwright:
        # No name resolves and no proxy answers: only this machine can be reached.
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
                  "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
        )  # fmt: skip
        page = browser.new_page(
            viewport={"width": 1200, "height": 1000}, extra_http_headers={"Authorization": f"ApiKey {KEY}"}
        )
        page.on(
            "request", lambda sent: None if sent.url.startswith((served.url, "data:")) else foreign.append(sent.url)
        )
        page.on("requestfailed", lambda failed: broken.append(failed.url))
        page.on("pageerror", lambda error: broken.append(str(error)))
        page.goto(f"{served.url}/docs")
        page.wait_for_selector(".opblock", timeout=30_000)
        title = page.text_content("h2.title")
        blocks = page.locator(".opblock").count()
        page.locator("#operations-status-get_status .opblock-summary-control").click()
        page.locator("#operations-status-get_status button.try-out__btn").click()
        page.locator("#operations-status-get_status button.execute").click()
        page.wait_for_selector("#operations-status-get_status .live-responses-table .response-col_status")
        answer = page.text_content("#operations-status-get_status .live-responses-table")
        page.screenshot(path=folder / "docs.png")
        add = "#operations-queue-post_queue_item_add"
        page.locator(f"{add} .opblock-summary-control").click()
        page.locator(f"{add} button.try-out__btn").click()
        page.locator(f"{add} button.execute").click()  # As the page fills it in.
        page.wait_for_selector(f"{add} .live-responses-table .response-col_status")
        added = page.text_content(f"{add} .live-responses-table")
        browser.close()
    assert "sanic_qserver" in title
    assert blocks >= len(ENDPOINTS)
    assert "RE Manager" in answer
    assert '"success": true' in added
    assert (folder / "docs.png").stat().st_size > 20_000
    assert foreign == []
    assert broken == []


async def test_pages_of_other_origins_may_call_only_where_it_is_configured(sanic_client, make_config):
    origin = "http://beamline.example"
    client = await sanic_client(app_of(make_config(server={"allow_origins": [origin]})))
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    preflight = await client.options("/api/queue/item/add", headers=asked)
    assert preflight.headers["access-control-allow-origin"] == origin
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
    assert preflight.headers["access-control-allow-credentials"] == "true"
    answer = await client.get("/api/nothing", headers={"Origin": origin})
    assert answer.headers["access-control-allow-origin"] == origin
    foreign = await client.get("/api/status", headers={"Origin": "http://evil.example"})
    assert "access-control-allow-origin" not in foreign.headers


async def test_without_configured_origins_no_page_may_call(client):
    response = await client.get("/api/status", headers={"Origin": "http://evil.example"})
    assert "access-control-allow-origin" not in response.headers


def test_the_tests_run_where_the_browser_is():
    if os.environ.get("REQUIRE_ALL_TESTS"):
        assert shutil.which("chromium")
        assert subprocess.run([CHROMIUM, "--version"], capture_output=True, check=True).stdout
