"""Rows -> blueprints and routes: one visible loop, one closure."""

import asyncio
from collections.abc import Iterable
from time import perf_counter
from typing import Any

from sanic import Blueprint, HTTPResponse, Request

from sanic_qserver.api.call import UploadedFile
from sanic_qserver.api.endpoint import JSON, Answer, Endpoint, LinesEndpoint, Stamp, stamped
from sanic_qserver.api.services import Services
from sanic_qserver.errors import GatewayError
from sanic_qserver.http.application import PREFIXES, App, Handler
from sanic_qserver.http.bodies import Bodies
from sanic_qserver.http.csrf import NOSNIFF
from sanic_qserver.http.decode import Decoded, Decoder
from sanic_qserver.http.errors import respond
from sanic_qserver.http.forms import MULTIPART, OFF_LOOP_FROM, URLENCODED, read_multipart
from sanic_qserver.http.gate import Gate
from sanic_qserver.http.representations import represent
from sanic_qserver.http.request_id import REQUEST_ID
from sanic_qserver.http.server.response import Reply
from sanic_qserver.http.stream.ndjson import lines_handler
from sanic_qserver.http.watching import Watching
from sanic_qserver.manager.bodies import Body


def mount(
    app: App, rows: Iterable[Endpoint], gate: Gate, bodies: Bodies, services: Services, watching: Watching
) -> None:
    """Give every row its routes, under `/api` and at the root, as one blueprint a domain."""
    blueprints: dict[str, Blueprint] = {}
    for row in rows:
        blueprint = blueprints.setdefault(row.domain, Blueprint(row.domain))
        if isinstance(row, LinesEndpoint):
            handler = lines_handler(row, gate, bodies, services, watching.metrics)
        else:
            handler = build_handler(row, gate, bodies, services, watching)
        for number, (verb, path) in enumerate(((row.verb, row.path), *row.aliases)):
            for prefix in PREFIXES if row.at_root else PREFIXES[:1]:
                blueprint.add_route(
                    handler,
                    prefix + path,
                    methods=["GET", "HEAD"] if verb == "GET" else [verb],
                    name=f"{row.name}_{number}{'_api' if prefix else ''}",
                    ignore_body=True,  # It is read when the gate has decided.
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
            app.add_route(
                _build_options(verbs),
                path,
                methods=["OPTIONS"],
                name=f"options_{number}",
                ignore_body=True,
                error_format="json",
            )


def _build_options(verbs: set[str]) -> Handler:
    allow = ", ".join(sorted(verbs | {"OPTIONS"}))

    async def options(_: Request, **__: str) -> HTTPResponse:
        return HTTPResponse(status=204, headers={"Allow": allow})

    return options


def build_handler(row: Endpoint, gate: Gate, bodies: Bodies, services: Services, watching: Watching) -> Handler:
    """The way of one request: gate, body, decode, stamp, serve, answer."""
    manager = services.config.manager
    decoder = Decoder(
        row.params,
        max_nesting=services.config.server.max_nesting,
        forward_unknown=manager.unknown_params == "forward" and bool(row.method),
    )

    watch = watching.of(row)
    compress_from_bytes = services.config.reads.compress_from_bytes
    decode, stamp, reads_form = decoder.decode, row.stamp, row.reads_form

    async def handle(request: Request, **path_args: str) -> HTTPResponse:
        timeline = watch.begin(request)
        request_headers = request.headers
        stream: Any = request.stream
        try:
            call, verdict = await gate.admit(request, row, path_args)
            timeline.admitted_at = perf_counter()
            body, content_type = b"", request_headers.get("content-type", "")
            if stream.request_body:
                body = await bodies.read(request, row.max_body_bytes)
                timeline.read_at = perf_counter()
            if reads_form and content_type[:19].lower() == MULTIPART:
                (params, call.unknown), call.files = await _read_form(body, content_type, decoder)
            elif len(body) > OFF_LOOP_FROM and content_type[:33].lower() == URLENCODED:
                params, call.unknown = await asyncio.to_thread(decode, body, request.query_string, content_type)
            else:
                params, call.unknown = decode(body, request.query_string, content_type)
            call.params = params if stamp is Stamp.NOTHING else stamped(params, stamp, call.access)
            answer = await gate.serve(call, row.serve)
        except GatewayError as error:
            bodies.limit(request, row.max_body_bytes)
            response = respond(error, request)
            response.headers.update(timeline.headers)
            watch.end(timeline, request, response.status)
            return response
        except BaseException as error:
            watch.fail(timeline, request, error)
            raise
        finally:
            bodies.release(request)
        headers = {
            REQUEST_ID: call.request_id,
            **NOSNIFF,
            **verdict.headers,
            **call.charges.headers,
            **timeline.headers,
        }
        status = 200
        if type(answer) is bytes:
            body = answer
        elif isinstance(answer, Body):
            status, body, more = await represent(answer, request_headers, compress_from_bytes)
            headers.update(more)
        else:
            assert isinstance(answer, Answer)  # noqa: S101  # what Serve says
            watch.end(timeline, request, answer.status)
            return _reply_to(answer, headers)
        watch.end(timeline, request, status)
        return Reply(body, status, headers, JSON)

    handle.__name__ = row.name
    return handle


def _reply_to(answer: Answer, headers: dict[str, str]) -> Reply:
    reply = Reply(answer.body, answer.status, {**headers, **answer.headers}, answer.content_type)
    for cookie in answer.cookies:
        reply.headers.add("Set-Cookie", cookie)
    return reply


async def _read_form(body: bytes, content_type: str, decoder: Decoder) -> tuple[Decoded, dict[str, UploadedFile]]:
    """Params and files of a multipart form; of several files under one name the first."""
    form = await read_multipart(body, content_type)
    files: dict[str, UploadedFile] = {}
    for part in form.files:
        files.setdefault(part.name, UploadedFile(part.file_name or "", part.content_type, part.body))
    return decoder.from_texts(form.fields, {}), files
