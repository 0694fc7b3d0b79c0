"""The id of a request: the client's, when it is harmless, or ours. It stands in header, body and log."""

import random
import re

from sanic import Request

REQUEST_ID = "X-Request-ID"
_HARMLESS = re.compile(r"[A-Za-z0-9._:-]{1,128}").fullmatch
# It tells requests apart and hides nothing: the system's random source would cost a system call for each.
_bits = random.Random().getrandbits  # noqa: S311


def read_request_id(request: Request) -> str:
    """The id, made at the first question and kept with the request."""
    context = request.ctx.__dict__
    kept: str | None = context.get("request_id")
    if kept is None:
        sent = request.headers.get("x-request-id")
        kept = sent if sent is not None and _HARMLESS(sent) else f"{_bits(64):016x}"
        context["request_id"] = kept
    return kept
