"""Rows -> an OpenAPI 3.1 document, and the page that shows it. Nothing on the page leaves the machine.

The document is made from the table and msgspec's schemas: sanic-ext's own loses `required`, literals and defaults.
"""

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from sanic_qserver import __version__
from sanic_qserver.api.endpoint import Endpoint, LinesEndpoint, Stream, operation_id
from sanic_qserver.http.errors import PROBLEM
from sanic_qserver.scopes import DESCRIPTIONS
from sanic_qserver.structs.requests import NoParams, Params

Json = dict[str, Any]
_REF = "#/components/schemas/{name}"
# Written over by the server: a client has no use for them.
_STAMPED = ("user", "user_group")

PROBLEM_SCHEMA: Json = {
    "type": "object",
    "title": "Problem",
    "description": "What went wrong, after RFC 9457. `code` is stable; `detail` is for people.",
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "request_id": {"type": "string"},
    },
}
ERRORS: Mapping[str, str] = {
    "400": "Bad arguments: the detail names the field",
    "401": "No credential, or a bad one",
    "403": "The caller lacks the scope",
    "404": "There is nothing of this name",
    "408": "RE Manager did not answer in time",
    "409": "The state of things forbids this: an Idempotency-Key under way, a server without accounts",
    "413": "The body is too large",
    "415": "The body is of a kind that is not read here",
    "421": "Without a key or token: the Host header names no host of this server ([server] allowed_hosts)",
    "422": "The body is not readable",
    "429": "Too many requests",
    "502": "A custom module failed",
    "503": "Overloaded, shutting down, or RE Manager is not available: not sent, safe to try again",
}

_FINDS = ("/status", "/history/get", "/plans/allowed/schema", "/auth/apikey")  # They look for what a parameter names.
_PLAN = {"item_type": "plan", "name": "count", "args": [["det1", "det2"]], "kwargs": {"num": 5, "delay": 1}}
EXAMPLES: Mapping[str, Json] = {
    "item": {"item": _PLAN},
    "items": {"items": [_PLAN, {**_PLAN, "kwargs": {"num": 1}}]},
}
"""What the page fills in, by the params' first field of this name: it runs as it stands, on the demo."""


def document(endpoints: Iterable[Endpoint], streams: Iterable[Stream]) -> Json:
    """The OpenAPI document of these rows. Paths are those under `/api`."""
    rows, flows = tuple(endpoints), tuple(streams)
    all_rows: tuple[Endpoint | Stream, ...] = (*rows, *flows)
    schemas = _schemas(rows, flows)
    paths: dict[str, Json] = {}
    for row in rows:
        for verb, path in ((row.verb, row.path), *row.aliases):
            paths.setdefault(_path(path), {})[verb.lower()] = _operation(row, verb, path, schemas)
    for flow in flows:
        paths.setdefault(_path(flow.path), {})["get"] = _stream_operation(flow, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "sanic_qserver",
            "version": __version__,
            "summary": "The HTTP face of the Bluesky Queue Server's RE Manager",
            "description": (
                "Arguments go into a JSON body, with GET and DELETE too, or into the query string. "
                "A refused operation answers 200 with `success: false`. "
                "Every path answers without the prefix `/api` as well."
            ),
            "license": {"name": "BSD-3-Clause", "identifier": "BSD-3-Clause"},
        },
        "servers": [{"url": "/"}],  # The page for people says the prefix of a proxy.
        "tags": [{"name": name} for name in dict.fromkeys(row.domain for row in all_rows)],
        "security": [{"ApiKeyHeader": []}, {"ApiKeyQuery": []}, {"Bearer": []}],
        "paths": paths,
        "components": {"schemas": schemas, "responses": _responses(), "securitySchemes": _security()},
    }


def _path(path: str) -> str:
    return "/api" + re.sub(r"<(\w+)(?::\w+)?>", r"{\1}", path)


def _schemas(rows: tuple[Endpoint, ...], flows: tuple[Stream, ...]) -> dict[str, Json]:
    types: set[type[msgspec.Struct]] = {row.params for row in rows} | {flow.params for flow in flows}
    types |= {row.reply for row in rows if row.reply is not None}
    _, components = msgspec.json.schema_components(sorted(types, key=lambda kind: kind.__name__), ref_template=_REF)
    schemas: dict[str, Json] = {name: components[name] for name in sorted(components)}
    for kind in types:
        if issubclass(kind, Params):
            for name in _STAMPED:
                schemas[kind.__name__].get("properties", {}).pop(name, None)
            schema = schemas[kind.__name__]
            required = schema.get("required", ())
            for name, field in schema.get("properties", {}).items():
                schema["properties"][name] = field if name in required else or_null(field)
    for schema in schemas.values():
        if "description" in schema:  # A docstring as it stands in the source: Markdown takes its indentation for code.
            schema["description"] = inspect.cleandoc(schema["description"])
    schemas["Problem"] = PROBLEM_SCHEMA
    return schemas


def _operation(row: Endpoint, verb: str, path: str, schemas: dict[str, Json]) -> Json:
    operation: Json = {
        "operationId": operation_id(verb, path) + ("" if path == row.path else "_alias"),
        "summary": row.summary,
        "tags": [row.domain],
        "responses": {"200": _ok(row)} | _redirects(row) | {code: _response_ref(code) for code in _codes(row)},
    }
    if description := _describe(row):
        operation["description"] = description
    if row.scope is not None:
        operation["x-scope"] = str(row.scope)
    else:
        operation["security"] = []
    parameters = _path_parameters(path)
    if row.reads_form and verb != "GET":
        kinds = ("multipart/form-data", *(() if _is_sheet(row) else ("application/x-www-form-urlencoded",)))
        operation["requestBody"] = {"content": {kind: {"schema": _form(row, schemas)} for kind in kinds}}
    elif isinstance(row, LinesEndpoint):
        operation["requestBody"] = {"description": "One JSON object a line", "content": _LINES}
        parameters += _query_parameters(row.params, schemas)
    elif row.params is not NoParams and schemas[row.params.__name__].get("properties"):
        if verb in ("GET", "DELETE"):
            parameters += _query_parameters(row.params, schemas)
        else:
            schema = {"$ref": _REF.format(name=row.params.__name__)}
            is_required = bool(schemas[row.params.__name__].get("required"))
            body: Json = {"schema": schema}
            if example := next((EXAMPLES[name] for name in row.params.__struct_fields__ if name in EXAMPLES), None):
                body["example"] = example
            operation["requestBody"] = {"required": is_required, "content": {"application/json": body}}
    if parameters:
        operation["parameters"] = parameters
    return operation


def _describe(row: Endpoint | Stream) -> str:
    """What the docstring of the params says beyond its first line, and the scope: a page shows both beside the call."""
    told = inspect.cleandoc(row.params.__doc__ or "").partition("\n")[2].strip() if row.params is not NoParams else ""
    asked = f"Asks for the scope `{row.scope}`: {DESCRIPTIONS[row.scope]}" if row.scope is not None else ""
    return "\n\n".join(filter(None, (told, asked)))


def _codes(row: Endpoint) -> list[str]:
    """The failures that this row may answer with."""
    is_login = row.path.startswith("/auth/")
    left_out = set() if "<" in row.path or row.path in _FINDS else {"404"}
    left_out |= set() if row.changes or is_login else {"409"}
    return [code for code in ERRORS if code not in left_out]


def _redirects(row: Endpoint) -> Json:
    return {"302": {"description": "To the page that goes on with it"}} if _is_page(row) else {}


def _is_page(row: Endpoint) -> bool:
    """Whether it answers browsers of people who log in."""
    return row.ignores_credential and row.reply is None


def _is_sheet(row: Endpoint) -> bool:
    return "sheet" in row.params.__struct_fields__


def _path_parameters(path: str) -> list[Json]:
    names = re.findall(r"<(\w+)(?::\w+)?>", path)
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _query_parameters(params: type[Params], schemas: dict[str, Json]) -> list[Json]:
    schema = schemas[params.__name__]
    required = schema.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": without_null(kind)}
        for name, kind in schema.get("properties", {}).items()
    ]


def _form(row: Endpoint, schemas: dict[str, Json]) -> Json:
    schema = schemas[row.params.__name__]
    fields = {name: without_null(kind) for name, kind in schema.get("properties", {}).items()}
    if not _is_sheet(row):
        required = schema.get("required", [])
        return {"type": "object", "required": required, "properties": fields, "additionalProperties": False}
    return {
        "type": "object",
        "required": ["spreadsheet"],
        "additionalProperties": False,
        "properties": {"spreadsheet": {"type": "string", "format": "binary"}, **fields},
    }


def or_null(kind: Json) -> Json:
    """A field that may be left out may be null too: the official client sends it so."""
    return {"anyOf": [kind, {"type": "null"}]} if kind and kind.get("type") != "null" else kind


def without_null(kind: Json) -> Json:
    """The same where a value is text: there is no null."""
    choices = kind.get("anyOf", [])
    is_ours = len(choices) == 2 and choices[1] == {"type": "null"}
    return choices[0] if is_ours else kind


_LINES: Json = {"application/x-ndjson": {"schema": {"type": "string"}}}


def _ok(row: Endpoint) -> Json:
    if isinstance(row, LinesEndpoint):
        return {"description": "One JSON object a line", "content": _LINES}
    if _is_page(row):
        return {"description": "A page", "content": {"text/html": {}, "application/json": {}}}
    schema: Json = {"$ref": _REF.format(name=row.reply.__name__)} if row.reply is not None else {}
    kind = "text/plain" if row.path == "/metrics" else "application/json"
    return {"description": "RE Manager's reply" if row.method else "The answer", "content": {kind: {"schema": schema}}}


def _stream_operation(flow: Stream, schemas: dict[str, Json]) -> Json:
    kinds = ("text/plain", "text/event-stream", "application/x-ndjson")
    content = {kind: {"schema": {"type": "string"}} for kind in kinds}
    upgraded: Json = {"101": {"description": "A websocket: one JSON object a text frame"}}
    opened: Json = {"200": {"description": "Messages, without end", "content": content}}
    operation: Json = {
        "operationId": flow.name,
        "summary": flow.summary,
        "tags": [flow.domain],
        "responses": (upgraded if flow.is_websocket else opened)
        | {code: _response_ref(code) for code in ("400", "401", "403", "429", "503")},
    }
    if description := _describe(flow):
        operation["description"] = description
    if flow.scope is not None:
        operation["x-scope"] = str(flow.scope)
    if parameters := _query_parameters(flow.params, schemas):
        operation["parameters"] = parameters
    return operation


def _response_ref(code: str) -> Json:
    return {"$ref": f"#/components/responses/Error{code}"}


def _responses() -> Json:
    schema = {"$ref": _REF.format(name="Problem")}
    return {
        f"Error{code}": {"description": text, "content": {PROBLEM: {"schema": schema}}} for code, text in ERRORS.items()
    }


def _security() -> Json:
    return {
        "ApiKeyHeader": {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "The word `ApiKey`, a space, and the key",
        },
        "ApiKeyQuery": {"type": "apiKey", "in": "query", "name": "api_key"},
        "Bearer": {"type": "http", "scheme": "bearer"},
    }
