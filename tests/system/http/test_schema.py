"""The OpenAPI document and the server agree: what the one allows, the other takes, and answers as it says.

schemathesis makes the requests: few for each operation, and the same ones each time.
"""

import pytest
import schemathesis
from conftest import KEY
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from sanic_qserver.api.table import ENDPOINTS, STREAMS
from sanic_qserver.http.openapi import document

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
# They end RE Manager, lock it for all that follow, take as long as they are told, or read lines.
LEFT_OUT = {
    "/api/manager/stop", "/api/test/manager/kill", "/api/lock", "/api/unlock", "/api/test/server/sleep",
    "/api/queue/item/add/stream", "/api/proposals",
}  # fmt: skip
STREAMED = {"/api" + stream.path for stream in STREAMS}


def without_security(described):
    """Credentials are the tests' own, not made up."""
    del described["security"], described["components"]["securitySchemes"]
    for path in described["paths"].values():
        for operation in path.values():
            operation.pop("security", None)
    return described


SCHEMA = schemathesis.openapi.from_dict(without_security(document(ENDPOINTS, STREAMS)))
OPERATIONS = [
    operation for found in SCHEMA.get_all_operations() if (operation := found.ok()).path not in LEFT_OUT | STREAMED
]
FEW = settings(
    max_examples=4,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
REFUSALS = {400, 422}
# These hand on what they get, so that all that the document allows must pass. Others look into it before, and describe
# their refusals in words.
HANDED_ON = {
    "ping", "status", "config", "queue", "history", "environment", "re", "plans", "devices", "permissions", "function",
    "script", "task", "kernel", "console_output", "console_output_update", "auth",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _quiet_afterwards(served):
    """Others share this RE Manager: it must not go on running plans in a loop."""
    yield
    for path, body in (("autostart", {"enable": False}), ("mode/set", {"mode": "default"}), ("clear", {})):
        served.client.post(f"/api/queue/{path}", json=body, headers=served.key)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_what_the_document_allows_is_taken_and_answered_as_it_says(served, operation):
    @FEW
    @given(case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
    def ask(case):
        case.query.pop("wait_for", None)  # It waits: tests/integration/api/test_waiting.py
        response = case.call(base_url=served.url, headers={"Authorization": f"ApiKey {KEY}"})
        if operation.path.split("/")[2] in HANDED_ON and operation.path != "/api/queue/upload/spreadsheet":
            assert response.status_code not in REFUSALS, (case.as_curl_command(), response.text)
        case.validate_response(response, checks=CHECKS)

    ask()
