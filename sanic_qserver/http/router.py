"""Rows -> blueprints and routes: one visible loop, one closure."""

from collections.abc import Iterable, Mapping
from time import perf_counter
from typing import Any

from sanic import Blueprint, HTTPResponse, Request

from sanic_qserver.api.call import Call, UploadedFile
from sanic_qserver.api.endpoint import JSON, Answer, Endpoint, LinesEndpoint, Stamp, stamped
from sanic_qserver.api.services import Services
from sanic_qserver.errors import BodyTooLarge, GatewayError
from sanic_qserver.http.application import App, Handler
from sanic_qserver.http.csrf import NOSNIFF
from sanic_qserver.http.decode import Decoder
from sanic_qserver.http.errors import respond
from sanic_qserver.http.gate import Gate
from sanic_qserver.http.metrics import Metrics
from sanic_qserver.http.representations import represent
from sanic_qserver.http.request_id import REQUEST_ID, request_id_of
from sanic_qserver.http.server.response import Reply
from sanic_qserver.http.stream.ndjson import lines_handler
from sanic_qserver.manager.bodies import Body

PREFIXES = ("/api", "")
_NO_FILES: Mapping[str, UploadedFile] = {}


def mount(app: App, rows: Iterable[Endpoint], gate: Gate, services: Services, metrics: Metrics) -> None:
    """Give every row its routes, under `/api` and at the root, as one blueprint a domain."""
    blueprints: dict[str, Blueprint] = {}
    for row in rows:
        blueprint = blueprints.setdefault(row.domain, Blueprint(row.domain))
        if isinstance(row, LinesEndpoint):
            handler = lines_handler(row, gate, services, metrics)
        else:
            handler = handler_of(row, gate, services, metrics)
        for number, (verb, path) in enumerate(((row.verb, row.path), *row.aliases)):
            for prefix in PREFIXES if row.at_root else PREFIXES[:1]:
                blueprint.add_route(
                    handler,
                    prefix + path,
                    methods=["GET", "HEAD"] if verb == "GET" else [verb],
                    name=f"{row.name}_{number}{'_api' if prefix else ''}",
                    ignore_body=False,  # Clients send JSON bodies with GET and DELETE.
                    ctx_row=row,
                    error_format="json",  # Else Sanic parses each handler's source to guess it: a second at start.
                )
    for blueprint in blueprints.values():
        app.blueprint(blueprint)


def mount_options(app: App) -> None:
    """Answer OPTIONS at every path. After all other routes.

    sanic-ext would add these at start, one by one, and rebuild the router for each: seconds for a table of this size.
    """
    methods: dict[str, set[str]] = {}
    for route in app.router.routes:
        methods.setdefault("/" + route.path.strip("/"), set()).update(route.methods)
    for number, (path, verbs) in enumerate(methods.items()):
        if "OPTIONS" not in verbs:
            app.add_route(_options_of(verbs), path, methods=["OPTIONS"], name=f"options_{number}", error_format="json")


def _options_of(verbs: set[str]) -> Handler:
    allow = ", ".join(sorted(verbs | {"OPTIONS"}))

    async def options(_: Request, **__: str) -> HTTPResponse:
        return HTTPResponse(status=204, headers={"Allow": allow})

    return options


def handler_of(row: Endpoint, gate: Gate, services: Services, metrics: Metrics) -> Handler:
    """The way of one request: gate, decode, stamp, serve, answer."""
    manager = services.config.manager
    decoder = Decoder(
        row.params,
        max_nesting=services.config.server.max_nesting,
        forward_unknown=manager.unknown_params == "forward" and bool(row.method),
    )

    count = metrics.of(row)
    compress_from_bytes = services.config.reads.compress_from_bytes
    decode, stamp, reads_form = decoder.decode, row.stamp, row.reads_form

    async def handle(request: Request, **path_args: str) -> HTTPResponse:
        started_at = perf_counter()
        request_headers = request.headers
        try:
            access, verdict = await gate.admit(request, row)
            files = _NO_FILES
            if reads_form and _is_multipart(request):
                (params, unknown), files = _read_form(request, decoder)
            else:
                params, unknown = decode(request.body, request.query_string, request_headers.get("content-type", ""))
            if stamp is not Stamp.NOTHING:
                params = stamped(params, stamp, access)
            request_id = request_id_of(request)
            call = Call(row, params, access, request_id, services, request_headers, path_args,
                        request.client_ip, unknown, files, request.query_string)  # fmt: skip
            answer = await gate.serve(row, call)
        except GatewayError as error:
            response = respond(error, request)
            count(response.status, started_at)
            return response
        headers = {REQUEST_ID: request_id, **NOSNIFF, **verdict.headers}
        status, content_type = 200, JSON
        if type(answer) is bytes:
            body = answer
        elif isinstance(answer, Body):
            status, body, more = await represent(answer, request_headers, compress_from_bytes)
            headers.update(more)
        else:
            assert isinstance(answer, Answer)  # noqa: S101  # what Serve says
            status, body, content_type = answer.status, answer.body, answer.content_type
            headers.update(answer.headers)
            if answer.cookies:
                count(status, started_at)
                return _with_cookies(Reply(body, status, headers, content_type), answer.cookies)
        count(status, started_at)
        return Reply(body, status, headers, content_type)

    handle.__name__ = row.name
    return handle


def _with_cookies(reply: Reply, cookies: tuple[str, ...]) -> Reply:
    for cookie in cookies:
        reply.headers.add("Set-Cookie", cookie)
    return reply


def _is_multipart(request: Request) -> bool:
    return str(request.headers.get("content-type", "")).lower().startswith("multipart/form-data")


def _read_form(request: Request, decoder: Decoder) -> tuple[Any, dict[str, UploadedFile]]:
    """Fields and files of a multipart form. Sanic's parser swallows what it cannot read: then parts are missing."""
    form: dict[str, Any] = request.form or {}
    parts: dict[str, Any] = request.files or {}
    if len(form) > 100 or len(parts) > 100:
        raise BodyTooLarge("More than 100 form parts")
    fields = [(name, value) for name, values in form.items() for value in values]
    files = {name: UploadedFile(part.name, part.type, part.body) for name, (part, *_) in parts.items()}
    return decoder.from_texts(fields, {}), files
