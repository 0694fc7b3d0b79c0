"""Logs: one line a fact to standard error, as text or JSON, with request id and principal where there is a request.

No secret gets in: bodies and credentials are never logged, and paths lose their query string, which may hold a key.
SIGUSR1 turns the level to debug, and back.
"""

import contextlib
import logging
import signal
import sys
from datetime import UTC, datetime
from typing import Any

from sanic import Request

from sanic_qserver.config.settings import LogConfig
from sanic_qserver.errors import ConfigError
from sanic_qserver.http.request_id import read_request_id
from sanic_qserver.json_text import encode_text

_OURS = "sanic_qserver"
_QUIET = ("sanic.root", "sanic.server", "httpx", "alembic.runtime.plugins", "alembic.runtime.migration")


class _AddRequest(logging.Filter):
    """Gives a record the request that is served, `request_id` and `who`, or "" where there is none."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always True."""
        request = Request._current.get(None)  # noqa: SLF001  # get_current() raises where there is none
        record.request_id = record.who = record.trace_id = ""
        if request is not None and request.stream is not None:  # Else it was answered; a task lives on.
            principal = request.ctx.__dict__.get("principal")
            record.request_id = read_request_id(request)
            record.trace_id = request.ctx.__dict__.get("trace_id", "")
            record.who = f"{principal.provider}:{principal.name}" if principal is not None else ""
        return True


def _facts(record: logging.LogRecord) -> list[tuple[str, str]]:
    facts = record.__dict__
    named = (("request_id", facts.get("request_id", "")), ("principal", facts.get("who", "")),
             ("trace_id", facts.get("trace_id", "")))  # fmt: skip
    return [(name, value) for name, value in named if value]


class _Text(logging.Formatter):
    """A line for persons."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The line, with what is known of the request behind it."""
        known = [f"{name}={value}" for name, value in _facts(record)]
        text = super().format(record)
        if not known:
            return text
        first, line_end, rest = text.partition("\n")
        return f"{first} [{' '.join(known)}]{line_end}{rest}"


class _Json(logging.Formatter):
    """A line for programs."""

    def format(self, record: logging.LogRecord) -> str:
        """One JSON object."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        entry: dict[str, Any] = {
            "time": at,
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= dict(_facts(record))
        entry |= record.__dict__.get("facts", {})
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            entry["stack"] = record.stack_info
        return encode_text(entry)


def start_logging(config: LogConfig) -> None:
    """Log to standard error. Sanic's own chatter stays off."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if config.format == "json" else _Text())
    handler.addFilter(_AddRequest())
    level = getattr(logging, config.level.upper())
    logging.basicConfig(level=max(level, logging.INFO), handlers=[handler], force=True)
    logging.getLogger(_OURS).setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("sanic.error").addFilter(_is_no_mistake)
    with contextlib.suppress(ValueError, AttributeError):  # Not in a thread, not on Windows.
        signal.signal(signal.SIGUSR1, lambda *_: _toggle_debug(level))


def _toggle_debug(level: int) -> None:
    ours = logging.getLogger(_OURS)
    ours.setLevel(level if ours.level == logging.DEBUG and level != logging.DEBUG else logging.DEBUG)
    ours.warning("The log level is %s now", logging.getLevelName(ours.level))


def _is_no_mistake(record: logging.LogRecord) -> bool:
    """Sanic prints the traceback of what ends the start; of a mistake in the configuration one line is enough."""
    return not (record.exc_info and isinstance(record.exc_info[1], ConfigError))
