"""Routes for those who run the server: is it alive, is it ready."""

from typing import Any

import msgspec
from sanic import HTTPResponse, Request

from sanic_qserver.api.services import Services
from sanic_qserver.errors import GatewayError
from sanic_qserver.http.application import App
from sanic_qserver.http.credentials import read_credential
from sanic_qserver.http.gate import Gate
from sanic_qserver.scopes import Scope

OPERATORS = frozenset({Scope.ADMIN_METRICS, Scope.WRITE_CONFIG})


def mount_operations(app: App, services: Services, gate: Gate) -> None:
    """Add `/healthz` and `/readyz`. Both are public and never wait for RE Manager.

    Warnings name files, users and mistakes in policies: they are for those who run the server.
    """

    async def healthz(_: Request) -> HTTPResponse:
        return HTTPResponse(b'{"status":"ok"}', content_type="application/json")

    async def readyz(request: Request) -> HTTPResponse:
        manager = services.manager
        checks = {
            "manager": "ok" if manager.is_connected else "there is no connection to RE Manager",
            "publications": "ok" if services.publications.heard_at else "nothing was published yet",
        }
        if condition := services.live.feed.condition:
            checks["events"] = condition  # Without its Redis a replica serves all the rest.
        is_ready = manager.is_connected
        if services.logins.has_accounts:
            is_away = services.logins.accounts.is_away
            checks["database"] = "the database of logins does not answer" if is_away else "ok"
            is_ready = is_ready and not is_away
        is_degraded = False
        if (watch := services.redis_watch) is not None:
            # Still ready: all replicas would be taken out at once, and reads are served.
            is_degraded = watch.is_away
            checks["replicas"] = "their Redis does not answer: what needs it is refused" if is_degraded else "ok"
        if app.ctx.certificates is not None:
            is_stale = app.ctx.certificates.is_stale
            checks["certificate"] = (
                "its files changed and cannot be used: the old one is in force" if is_stale else "ok"
            )
        if app.ctx.connections.is_draining:
            checks["server"], is_ready = "it is stopping", False
        body: dict[str, Any] = {
            "status": ("degraded" if is_degraded else "ready") if is_ready else "not ready",
            "checks": checks,
            "warning_count": len(services.warnings),
        }
        if await _may_see_warnings(request, gate):
            body["warnings"] = list(services.warnings)
        return HTTPResponse(msgspec.json.encode(body), 200 if is_ready else 503, content_type="application/json")

    app.add_route(healthz, "/healthz", methods=["GET"], name="healthz", ignore_body=True)
    app.add_route(readyz, "/readyz", methods=["GET"], name="readyz", ignore_body=True)


async def _may_see_warnings(request: Request, gate: Gate) -> bool:
    try:
        access = await gate.identify(read_credential(request))
    except GatewayError:  # A probe with a bad key is told what all are told.
        return False
    return not access.scopes.isdisjoint(OPERATORS)
