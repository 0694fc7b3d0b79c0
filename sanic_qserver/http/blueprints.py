"""Plain Sanic blueprints of custom modules: behind the gate, counted, audited and contained as rows are."""

import functools
import logging
import math
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from sanic import HTTPResponse, Request
from sanic.exceptions import SanicException

from sanic_qserver.api.around import AUDITED
from sanic_qserver.api.call import Call
from sanic_qserver.api.endpoint import ANY_BODY, SMALL_BODY, Answer, Endpoint
from sanic_qserver.errors import ConfigError, ExtensionFailed, GatewayError
from sanic_qserver.extension_api.contribution import MountedBlueprint
from sanic_qserver.http.application import App
from sanic_qserver.http.bodies import Bodies
from sanic_qserver.http.errors import respond
from sanic_qserver.http.gate import Gate
from sanic_qserver.http.request_id import REQUEST_ID
from sanic_qserver.http.server.connection import find_connection
from sanic_qserver.middleware.audit.recording import audited, denials_audited

log = logging.getLogger("sanic_qserver.extensions")

FIRST = 1_000_000  # The gate stands before every middleware of a blueprint.
SAFE = ("GET", "HEAD", "OPTIONS")
Rows = Mapping[str, Endpoint]


def mount_blueprints(app: App, blueprints: Iterable[MountedBlueprint], gate: Gate, bodies: Bodies) -> None:
    """Add the blueprints. Handlers find the caller in `request.ctx.access`, and `request.ctx.call` for `manager_as`.

    Raises ConfigError for one that Sanic refuses.
    """
    for mounted in blueprints:
        before = {id(route) for route in app.router.routes}
        try:
            app.blueprint(mounted.blueprint)
        except Exception as error:
            raise ConfigError(f"The blueprint of extension '{mounted.module}' cannot be mounted: {error}") from error
        for route in [route for route in app.router.routes if id(route) not in before]:
            path = "/" + route.path.strip("/")
            rows = {
                verb: Endpoint(
                    verb,
                    path,
                    mounted.scope,
                    "",
                    around=() if verb in SAFE else (AUDITED,),
                    at_root=False,
                    max_body_bytes=SMALL_BODY if mounted.scope is None else ANY_BODY,
                )
                for verb in sorted(route.methods) or ["GET"]
            }
            route.ctx.row = next(iter(rows.values()))
            route.extra.ignore_body = True  # Sanic would read the body before the gate has decided.
            admit = _build_admission(rows, gate, bodies, is_stream=hasattr(route.handler, "is_stream"))
            app.register_named_middleware(admit, [route.name], "request", priority=FIRST)
            app.register_named_middleware(_releasing(bodies), [route.name], "response")
            if not _is_websocket(route.handler):
                route.handler = _contained(route.handler, mounted.module, gate, bodies)


def _is_websocket(handler: Callable[..., Any]) -> bool:
    return isinstance(handler, functools.partial) and handler.func.__name__ == "_websocket_handler"


def _build_admission(
    rows: Rows, gate: Gate, bodies: Bodies, *, is_stream: bool
) -> Callable[[Request], Coroutine[Any, Any, HTTPResponse | None]]:
    first = next(iter(rows.values()))

    async def admit(request: Request) -> HTTPResponse | None:
        row = rows.get(request.method, first)
        stream: Any = request.stream
        try:
            call, verdict = await gate.admit(request, row)
            if is_stream:
                stream.request_max_size = math.inf  # The handler reads and bounds it.
            elif stream.request_body:
                await bodies.read(request, row.max_body_bytes)
        except GatewayError as error:
            bodies.limit(request, row.max_body_bytes)
            return respond(error, request)
        if request.route is not None and getattr(request.route.handler, "is_stream", False):
            find_connection(request).exempt()
        request.ctx.access = call.access
        request.ctx.verdict = verdict
        request.ctx.call = call
        return None

    return admit


def _releasing(bodies: Bodies) -> Callable[[Any, Any], None]:
    def release(request: Any, _: Any) -> None:
        bodies.release(request)

    return release


def _contained(handler: Callable[..., Any], module: str, gate: Gate, bodies: Bodies) -> Callable[..., Any]:
    """The handler; what it raises, other than what Sanic and the server know, is told with the module's name."""

    async def run(request: Request, *args: Any, **kwargs: Any) -> Any:
        try:
            answer = handler(request, *args, **kwargs)
            return await answer if hasattr(answer, "__await__") else answer
        except (GatewayError, SanicException):
            raise
        except Exception as error:
            log.exception("A route of extension '%s' raised, %s %s", module, request.method, request.path)
            raise ExtensionFailed(
                f"The extension '{module}' raised {type(error).__name__}; the server's log has more",
                extra={"extension": module},
            ) from None

    async def contained(request: Request, *args: Any, **kwargs: Any) -> Any:
        responses = []

        async def serve(_: Call) -> Answer:
            responses.append(await run(request, *args, **kwargs))
            return Answer(b"{}", getattr(responses[0], "status", 200))

        call: Call = request.ctx.call
        row = call.endpoint
        assert isinstance(row, Endpoint)  # noqa: S101  # made for it above
        layer = audited if AUDITED in row.around else denials_audited
        try:
            await gate.serve(call, layer(row, serve))
        finally:
            bodies.release(request)
        if isinstance(responses[0], HTTPResponse):
            responses[0].headers.update({REQUEST_ID: call.request_id, **request.ctx.verdict.headers})
        return responses[0]

    # Sanic reads marks like `is_stream` from the handler.
    contained.__dict__.update(getattr(handler, "__dict__", {}))
    contained.__name__ = getattr(handler, "__name__", module)
    return contained
