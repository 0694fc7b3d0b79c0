"""Routes for those who run the server: is it alive, is it ready."""

import msgspec
from sanic import HTTPResponse, Request

from sanic_qserver.api.services import Services
from sanic_qserver.http.application import App


def mount_operations(app: App, services: Services) -> None:
    """Add `/healthz` and `/readyz`. Both are public and never wait for RE Manager."""

    async def healthz(_: Request) -> HTTPResponse:
        return HTTPResponse(b'{"status":"ok"}', content_type="application/json")

    async def readyz(_: Request) -> HTTPResponse:
        manager = services.manager
        checks = {
            "manager": "ok" if manager.is_connected else "there is no connection to RE Manager",
            "publications": "ok" if services.publications.heard_at else "nothing was published yet",
        }
        is_ready = manager.is_connected
        if services.logins.has_accounts:
            is_away = services.logins.accounts.is_away
            checks["database"] = "the database of logins does not answer" if is_away else "ok"
            is_ready = is_ready and not is_away
        warnings = list(services.warnings)
        body = {"status": "ready" if is_ready else "not ready", "checks": checks, "warnings": warnings}
        return HTTPResponse(msgspec.json.encode(body), 200 if is_ready else 503, content_type="application/json")

    app.add_route(healthz, "/healthz", methods=["GET"], name="healthz", ignore_body=True)
    app.add_route(readyz, "/readyz", methods=["GET"], name="readyz", ignore_body=True)
