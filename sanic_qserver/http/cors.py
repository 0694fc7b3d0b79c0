"""Which web pages may call this server: sanic-ext's CORS, where origins are configured.

Imported only then: sanic-ext brings pydantic and jinja2 along, a third of a second and 9 MB at start.
"""

from collections.abc import Sequence

from sanic_qserver.http.application import App

# By name: browsers take `*` literally when credentials go along.
ALLOWED_HEADERS = "Authorization,Content-Type,X-CSRF,X-Request-ID,If-None-Match,Idempotency-Key,Last-Event-ID"
EXPOSED_HEADERS = "X-Request-ID,ETag,Retry-After,RateLimit,RateLimit-Policy,Idempotency-Replayed"


def allow_origins(app: App, origins: Sequence[str]) -> None:
    """Let pages of these origins call the server, with credentials unless the origin is `*`."""
    if not origins:
        return
    from sanic_ext import Extend  # noqa: PLC0415  # see above
    from sanic_ext.extensions.http.extension import HTTPExtension  # noqa: PLC0415

    app.config.CORS_ORIGINS = ",".join(origins)
    Extend(
        app,
        extensions=[HTTPExtension],
        built_in_extensions=False,
        config={
            "http_auto_head": False,  # Every row has its HEAD and OPTIONS already: see routing.mount_options.
            "http_auto_options": True,
            "cors": True,
            "cors_supports_credentials": "*" not in origins,
            "cors_allow_headers": ALLOWED_HEADERS,
            "cors_expose_headers": EXPOSED_HEADERS,
            "cors_methods": "GET,POST,DELETE,OPTIONS,HEAD",
            "cors_max_age": 600,
        },
    )
