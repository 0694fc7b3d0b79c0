"""The directive `http-api`: every operation of `openapi.json`, with its scope, as tables."""

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from sphinx.application import Sphinx

VERBS = ("get", "post", "put", "patch", "delete")


def write_tables(document: dict[str, Any]) -> list[str]:
    """One table a tag: method and path, scope, summary."""
    by_tag: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for verb in VERBS:
            if verb in operations:
                operation = operations[verb]
                scope = operation.get("x-scope") or "none"
                summary = operation.get("summary", "").replace("|", "\\|")
                row = f"| `{verb.upper()} {path}` | `{scope}` | {summary} |"
                by_tag.setdefault(operation["tags"][0], []).append(row)
    lines: list[str] = []
    for tag, rows in by_tag.items():
        lines += [f"## {tag}", "", "| call | scope | does |", "|---|---|---|", *rows, ""]
    return lines


class HttpApi(Directive):
    """Read the committed OpenAPI document, which a test keeps equal to the table of endpoints."""

    def run(self) -> list[nodes.Node]:
        """The tables, as sections of the page."""
        environment = self.state.document.settings.env
        file = Path(environment.srcdir) / "openapi.json"
        environment.note_dependency(str(file))
        lines = write_tables(json.loads(file.read_text("utf-8")))
        parent = nodes.Element()
        self.state.nested_parse(StringList(lines, str(file)), self.content_offset, parent, match_titles=True)
        return parent.children


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("http-api", HttpApi)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
