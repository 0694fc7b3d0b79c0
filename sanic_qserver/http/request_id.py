"""The id of a request: the client's, when it is harmless, or ours. It stands in header, body and log."""

import os
import re

from sanic import Request

REQUEST_ID = "X-Request-ID"
_HARMLESS = re.compile(r"[A-Za-z0-9._:-]{1,128}").fullmatch


def request_id_of(request: Request) -> str:
    """The id, made at the first question and kept with the request."""
    kept: str | None = getattr(request.ctx, "request_id", None)
    if kept is None:
        sent = request.headers.get("x-request-id")
        kept = sent if sent is not None and _HARMLESS(sent) else os.urandom(8).hex()
        request.ctx.request_id = kept
    return kept
