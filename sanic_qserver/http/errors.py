"""One function: an exception becomes a problem document (RFC 9457). Nothing else answers an error."""

import logging
from typing import Any

import msgspec
from sanic import HTTPResponse, Request
from sanic.exceptions import (
    HeaderNotFound,
    InvalidHeader,
    MethodNotAllowed as SanicMethodNotAllowed,
    NotFound as SanicNotFound,
    PayloadTooLarge,
    RequestTimeout,
    SanicException,
)
from sanic.handlers import ErrorHandler

from sanic_qserver.api.auth.browser_login import refusal_page
from sanic_qserver.errors import (
    BodyTooLarge,
    GatewayError,
    MethodNotAllowed,
    NotAuthenticated,
    NotFound,
    Overloaded,
    UnreadableBody,
)
from sanic_qserver.http.request_id import REQUEST_ID, read_request_id
from sanic_qserver.texts import Text

log = logging.getLogger("sanic_qserver.http")

PROBLEM = "application/problem+json"
LOGIN_PAGES = "/auth/provider/"  # Where persons come with a browser: they get a page.
TYPE_BASE = "urn:sanic-qserver:problem:"


def problem(error: GatewayError, request_id: str) -> dict[str, Any]:
    """The members of the problem document. `detail` is always a string: the official client shows it."""
    return {
        "type": TYPE_BASE + error.code,
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "request_id": request_id,
        **error.extra,
    }


def respond(error: Exception, request: Request) -> HTTPResponse:
    """The response for any exception. What is not a GatewayError or Sanic's own is masked and logged."""
    request_id = read_request_id(request)
    known = as_gateway_error(error)
    if known is None:
        # The text of an unexpected error may hold secrets: it goes to the log, not to the client.
        log.error("Unexpected error, request %s: %s %s", request_id, request.method, request.path, exc_info=error)
        known = GatewayError("An unexpected error occurred; the server's log has it under this request id")
    elif known.status >= 500:
        log.warning("%s %s -> %d %s, request %s", request.method, request.path, known.status, known.detail, request_id)
    headers = {REQUEST_ID: request_id, "X-Content-Type-Options": "nosniff", **known.headers}
    if isinstance(known, NotAuthenticated):
        headers.setdefault("WWW-Authenticate", 'ApiKey, Bearer realm="sanic-qserver"')
    if LOGIN_PAGES in request.path and "text/html" in request.headers.get("accept", ""):
        page = refusal_page(known)
        return HTTPResponse(page.body, page.status, headers={**page.headers, **headers}, content_type=page.content_type)
    return HTTPResponse(
        msgspec.json.encode(problem(known, request_id)), known.status, headers=headers, content_type=PROBLEM
    )


def as_gateway_error(error: Exception) -> GatewayError | None:
    """Our form of an error that Sanic raised; None for what is not known."""
    if isinstance(error, GatewayError):
        return error
    if isinstance(error, SanicNotFound):
        return NotFound(f"{Text.NOT_FOUND}: there is nothing at this path")
    if isinstance(error, SanicMethodNotAllowed):
        allow = str((error.headers or {}).get("Allow", ""))
        return MethodNotAllowed(f"This path answers to {allow or 'other methods'}", headers={"Allow": allow})
    if isinstance(error, PayloadTooLarge):
        return BodyTooLarge("The body is over [server] max_body_bytes, or a header is too long")
    if isinstance(error, RequestTimeout):
        return _RequestTooSlow("The request did not arrive in time")
    if isinstance(error, (InvalidHeader, HeaderNotFound)):
        return _BadRequest("A header cannot be read")
    if isinstance(error, SanicException):
        return _other(error)
    return None


def _other(error: SanicException) -> GatewayError | None:
    if error.status_code == 503:
        return Overloaded("The answer took too long, or the server is stopping", headers={"Retry-After": "1"})
    if error.status_code == 417:
        return _ExpectationFailed("Only 'Expect: 100-continue' is understood")
    if 400 <= error.status_code < 500:
        return _BadRequest("The request is not readable HTTP")
    return None


class _BadRequest(UnreadableBody):
    status, code, title = 400, "bad_request", "Bad request"


class _ExpectationFailed(GatewayError):
    status, code, title = 417, "expectation_failed", "Expectation failed"


class _RequestTooSlow(GatewayError):
    status, code, title = 408, "request_too_slow", "Request too slow"


class ProblemHandler(ErrorHandler):
    """Gives every error that reaches Sanic the one form."""

    def default(self, request: Request, exception: Exception) -> HTTPResponse:
        """Answer with a problem document."""
        return respond(exception, request)
