"""The OpenAPI document: what a person reads at `/docs`."""

import pytest

from sanic_qserver.api.table import ENDPOINTS, STREAMS
from sanic_qserver.http.openapi import document


@pytest.fixture(scope="module")
def written():
    return document(ENDPOINTS, STREAMS)


@pytest.mark.parametrize(("path", "words"), [
    ("/api/status", "`environment_open`"), ("/api/events", "`since`"), ("/api/queue/mode/set", "`ignore_failures`"),
])  # fmt: skip
def test_what_is_said_about_arguments_stands_beside_the_call(written, path, words):
    (operation,) = (part for verb, part in written["paths"][path].items() if verb in ("get", "post"))
    assert words in operation["description"]
    assert "Asks for the scope" in operation["description"]


def test_no_description_is_indented_which_markdown_takes_for_code(written):
    operations = [part for path in written["paths"].values() for part in path.values() if isinstance(part, dict)]
    for part in (*operations, *written["components"]["schemas"].values()):
        assert "\n  " not in part.get("description", "")
