"""For people: the way to the operator's page, and the interactive documentation, whose assets come with a package."""

from functools import cache, lru_cache
from importlib.resources import files

import msgspec
from sanic import HTTPResponse, Request

from sanic_qserver.api.endpoint import Endpoint, Stream
from sanic_qserver.errors import NotFound
from sanic_qserver.http.application import App, Handler
from sanic_qserver.http.errors import respond
from sanic_qserver.http.openapi import document
from sanic_qserver.http.server.request import DirectRequest
from sanic_qserver.http.server.response import Reply
from sanic_qserver.http.ui.pages import PATH, to_page
from sanic_qserver.texts import Text

# What the page needs of swagger-ui-py's Swagger UI 5, which reads OpenAPI 3.1.
ASSETS = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui-standalone-preset.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
# Nothing may be loaded from elsewhere, and the browser sees to it.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
_DOCS = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>sanic_qserver: API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="docs/assets/favicon-32x32.png">
<link rel="stylesheet" href="docs/assets/swagger-ui.css"></head>
<body><div id="swagger-ui"></div>
<script src="docs/assets/swagger-ui-bundle.js"></script>
<script src="docs/assets/swagger-ui-standalone-preset.js"></script>
<script src="docs/assets/start.js"></script></body></html>
"""
# Swagger UI has no way to put a word before a key; whoever pastes the bare key means the same.
_START = """SwaggerUIBundle({
  url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, filter: true,
  persistAuthorization: true, validatorUrl: null, presets: [SwaggerUIBundle.presets.apis],
  requestInterceptor: (request) => {
    const key = request.headers.Authorization;
    if (key && !key.includes(" ")) request.headers.Authorization = "ApiKey " + key;
    return request;
  },
});
"""
SECURE = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


def mount_pages(app: App, endpoints: tuple[Endpoint, ...], streams: tuple[Stream, ...], ping: Handler) -> None:
    """Add `/openapi.json`, `/docs` with its assets, and `/`: for browsers the operator's page, for programs `ping`."""
    without_servers = cache(lambda: document(endpoints, streams))

    @lru_cache(maxsize=4)  # A server has one address, or two.
    def describe(prefix: str) -> bytes:
        return msgspec.json.encode({**without_servers(), "servers": [{"url": prefix or "/"}]})

    async def openapi_json(request: Request) -> HTTPResponse:
        return Reply(describe(_find_prefix(request)), 200, {}, "application/json")

    async def first(request: Request) -> HTTPResponse | None:
        if "text/html" in request.headers.get("accept", ""):
            prefix = _find_prefix(request)  # Unknown, a relative address is right where the slash is there.
            return to_page(f"{prefix}/{PATH}" if prefix else PATH)
        return await ping(request)

    async def docs(_: Request) -> HTTPResponse:
        return HTTPResponse(_DOCS, headers=SECURE, content_type="text/html; charset=utf-8")

    async def asset(request: Request, name: str) -> HTTPResponse:
        if name == "start.js":
            return HTTPResponse(_START, headers=SECURE, content_type="text/javascript")
        if name not in ASSETS:
            return respond(NotFound(f"{Text.NOT_FOUND}: there is nothing at this path"), request)
        headers = {**SECURE, "Cache-Control": "public, max-age=86400"}
        return Reply(_asset(name), 200, headers, ASSETS[name])  # Sent from the cache itself, not from a copy each.

    for prefix in ("", "/api"):
        name = prefix.strip("/")
        app.add_route(
            openapi_json,
            f"{prefix}/openapi.json",
            methods=["GET", "HEAD"],
            name=f"openapi_json{name}",
            ignore_body=True,
        )
    app.add_route(first, "/", methods=["GET", "HEAD"], name="first", ignore_body=True)
    app.add_route(docs, "/docs", methods=["GET", "HEAD"], name="docs", strict_slashes=True, ignore_body=True)
    app.add_route(asset, "/docs/assets/<name:str>", methods=["GET", "HEAD"], name="docs_asset", ignore_body=True)


def _find_prefix(request: Request) -> str:
    assert isinstance(request, DirectRequest)  # noqa: S101  # the application has no other
    return request.find_site().prefix


@cache
def _asset(name: str) -> bytes:
    return (files("swagger_ui") / "static" / name).read_bytes()
