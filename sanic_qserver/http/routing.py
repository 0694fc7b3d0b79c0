"""Rows -> blueprints and routes: one visible loop, one closure."""

from collections.abc import Iterable
from typing import Any

from sanic import Blueprint, HTTPResponse, Request

from sanic_qserver.endpoints.endpoint import JSON, Answer, Call, Endpoint, UploadedFile, stamped
from sanic_qserver.endpoints.services import Services
from sanic_qserver.errors import BodyTooLarge, GatewayError
from sanic_qserver.http.application import App, Handler
from sanic_qserver.http.decode import Decoder
from sanic_qserver.http.errors import respond
from sanic_qserver.http.gate import Gate
from sanic_qserver.http.request_id import REQUEST_ID, request_id_of

PREFIXES = ("/api", "")


def mount(app: App, rows: Iterable[Endpoint], gate: Gate, services: Services) -> None:
    """Give every row its routes, under `/api` and at the root, as one blueprint a domain."""
    blueprints: dict[str, Blueprint] = {}
    for row in rows:
        blueprint = blueprints.setdefault(row.domain, Blueprint(row.domain))
        handler = handler_of(row, gate, services)
        for number, (verb, path) in enumerate(((row.verb, row.path), *row.aliases)):
            for prefix in PREFIXES if row.at_root else PREFIXES[:1]:
                blueprint.add_route(
                    handler,
                    prefix + path,
                    methods=["GET", "HEAD"] if verb == "GET" else [verb],
                    name=f"{row.name}_{number}{'_api' if prefix else ''}",
                    ignore_body=False,  # Clients send JSON bodies with GET and DELETE.
                    ctx_row=row,
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
            app.add_route(_options_of(verbs), path, methods=["OPTIONS"], name=f"options_{number}")


def _options_of(verbs: set[str]) -> Handler:
    allow = ", ".join(sorted(verbs | {"OPTIONS"}))

    async def options(_: Request, **__: str) -> HTTPResponse:
        return HTTPResponse(status=204, headers={"Allow": allow})

    return options


def handler_of(row: Endpoint, gate: Gate, services: Services) -> Handler:
    """The way of one request: gate, decode, stamp, serve, answer."""
    manager = services.config.manager
    decoder = Decoder(
        row.params,
        max_nesting=services.config.server.max_nesting,
        forward_unknown=manager.unknown_params == "forward" and bool(row.method),
    )

    async def handle(request: Request, **path_args: str) -> HTTPResponse:
        try:
            access, verdict = await gate.admit(request, row)
            files: dict[str, UploadedFile] = {}
            if row.reads_form and _is_multipart(request):
                (params, unknown), files = _read_form(request, decoder)
            else:
                params, unknown = decoder.decode(
                    request.body, request.query_string, request.headers.get("content-type", "")
                )
            call = Call(
                endpoint=row,
                params=stamped(params, row.stamp, access),
                access=access,
                request_id=request_id_of(request),
                services=services,
                headers=request.headers,
                path_args=path_args,
                address=request.client_ip,
                unknown=unknown,
                files=files,
            )
            answer = await row.serve(call)
        except GatewayError as error:
            return respond(error, request)
        headers = {REQUEST_ID: call.request_id, **verdict.headers}
        if isinstance(answer, Answer):
            headers.update(answer.headers)
            return HTTPResponse(answer.body, answer.status, headers=headers, content_type=answer.content_type)
        return HTTPResponse(answer, 200, headers=headers, content_type=JSON)

    handle.__name__ = row.name
    return handle


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
