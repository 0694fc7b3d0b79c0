"""Plain Sanic blueprints of custom modules: behind the gate, contained, each route with a row of its own."""

import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from sanic import HTTPResponse, Request
from sanic.exceptions import SanicException

from sanic_qserver.endpoints.endpoint import Endpoint
from sanic_qserver.errors import ExtensionFailed, GatewayError
from sanic_qserver.extension_api.contribution import MountedBlueprint
from sanic_qserver.http.application import App
from sanic_qserver.http.errors import respond
from sanic_qserver.http.gate import Gate

log = logging.getLogger("sanic_qserver.extensions")

FIRST = 1_000_000  # The gate stands before every middleware of a blueprint.


def mount_blueprints(app: App, blueprints: Iterable[MountedBlueprint], gate: Gate) -> None:
    """Add the blueprints. Handlers find the caller in `request.ctx.access`."""
    for mounted in blueprints:
        before = {id(route) for route in app.router.routes}
        app.blueprint(mounted.blueprint)
        for route in [route for route in app.router.routes if id(route) not in before]:
            verb = next((verb for verb in ("GET", "POST") if verb in route.methods), min(route.methods, default="GET"))
            row = Endpoint(verb, "/" + route.path.strip("/"), mounted.scope, "", at_root=False)
            route.ctx.row = row
            route.handler = _contained(route.handler, mounted.module)
            app.register_named_middleware(_gate_of(row, gate), [route.name], "request", priority=FIRST)


def _gate_of(row: Endpoint, gate: Gate) -> Callable[[Request], Coroutine[Any, Any, HTTPResponse | None]]:
    async def admit(request: Request) -> HTTPResponse | None:
        try:
            access, _ = await gate.admit(request, row)
        except GatewayError as error:
            return respond(error, request)
        request.ctx.access = access
        return None

    return admit


def _contained(handler: Callable[..., Any], module: str) -> Callable[..., Any]:
    """The handler; what it raises, other than what Sanic and the server know, is told with the module's name."""

    async def contained(request: Request, *args: Any, **kwargs: Any) -> Any:
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

    # Sanic reads marks like `is_stream` from the handler.
    contained.__dict__.update(getattr(handler, "__dict__", {}))
    contained.__name__ = getattr(handler, "__name__", module)
    return contained
