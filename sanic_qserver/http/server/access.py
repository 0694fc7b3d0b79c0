"""The access log: one line for each answer, written many at a time, so that it costs a request few microseconds.

It goes to standard error as all logs do, but not through `logging`, which takes many times as long for a line.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable
from time import perf_counter
from typing import Any

import msgspec
from sanic import HTTPResponse, Request

from sanic_qserver.http.request_id import read_request_id
from sanic_qserver.http.server.response import Reply

LOGGER = "sanic_qserver.access"
FLUSH_S = 0.25
_MOST_LINES = 512
_MOST_KEPT = 1000
_CLIENT_CLOSED, _SWITCHED = 499, 101
_TEXT = f"INFO    {LOGGER}:"
_JSON = f'"level":"INFO","logger":"{LOGGER}"'
_Key = tuple[str, str, str, int, tuple[str, str]]


class AccessLog:
    """Notes each answer. `write` takes whole lines."""

    def __init__(self, form: str, write: Callable[[str], object] | None = None) -> None:
        """`form` is "text" or "json"."""
        self._is_json = form == "json"
        self._write = write or _write_to_stderr
        self._lines: list[str] = []
        self._timer: asyncio.TimerHandle | None = None
        self._millisecond, self._told_time = 0, ""
        self._asked: dict[_Key, tuple[str, str]] = {}

    def note(self, request: Request, response: Any, started_at: float | None, *, is_websocket: bool) -> None:
        """A request was answered, or its client has left. `started_at`: `perf_counter()` when its head was there."""
        took_ms = 0.0 if started_at is None else (perf_counter() - started_at) * 1000
        if type(response) is Reply:
            status, size = response.status, str(len(response.body))
        else:
            status, size = _look_at(response, is_websocket=is_websocket)
        if (now := int(time.time() * 1000)) != self._millisecond:
            self._tell_time(now)
        known = request.ctx.__dict__
        principal = known.get("principal")
        who = ("", "") if principal is None else (principal.provider, principal.name)
        key = (request.client_ip, request.method, request.path, status, who)
        asked, caller = self._asked.get(key) or self._describe(key)
        request_id = read_request_id(request)
        if self._is_json:
            more = f',"bytes":{size}' if size else ""
            if "trace_id" in known:
                more = f'{more},"trace_id":"{known["trace_id"]}"'
            line = (
                f'{{"time":"{self._told_time}",{_JSON},{asked},"duration_ms":{took_ms:.2f},"request_id":"{request_id}"'
                f"{caller}{more}}}\n"
            )
        else:
            sent = f"{size} B" if size else "stream"
            line = f"{self._told_time} {_TEXT} {asked} {sent} {took_ms:.1f} ms [request_id={request_id}{caller}]\n"
        self._lines.append(line)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self.flush)
        elif len(self._lines) >= _MOST_LINES:
            self.flush()

    def _describe(self, key: _Key) -> tuple[str, str]:
        """What was asked and came of it, and who asked: for a line. Without the query, which may hold a key."""
        address, method, path, status, who = key
        name, message = ":".join(filter(None, who)), f"{address} {method} {path} -> {status}"
        if self._is_json:
            facts = {"message": message, "address": address, "method": method, "path": path, "status": status}
            told = _encode(facts)[1:-1], f',"principal":{_encode(name)}' if name else ""
        else:
            told = _one_line(message), _one_line(f" principal={name}") if name else ""
        if len(self._asked) >= _MOST_KEPT:
            self._asked.clear()
        self._asked[key] = told
        return told

    def _tell_time(self, milliseconds: int) -> None:
        """As `logging` tells it; for programs in UTC. Many lines have the same."""
        self._millisecond = milliseconds
        second, rest = divmod(milliseconds, 1000)
        if self._is_json:
            self._told_time = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)) + f".{rest:03d}+00:00"
        else:
            self._told_time = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second)) + f",{rest:03d}"

    def flush(self) -> None:
        """Write what is there."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines = self._lines, []
        if lines:
            self._write("".join(lines))


def _look_at(response: Any, *, is_websocket: bool) -> tuple[int, str]:
    """Status and size; "" for what was not sent in one piece."""
    if response is None:
        return (_SWITCHED if is_websocket else _CLIENT_CLOSED), ""
    is_whole = isinstance(response, HTTPResponse) and response.headers.get("transfer-encoding") != "chunked"
    return response.status, str(len(response.body or b"")) if is_whole else ""


def _encode(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:  # A lone surrogate: a path or a name that is no UTF-8.
        return msgspec.json.encode(_clean(value)).decode()


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _clean(part) for name, part in value.items()}
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


def _write_to_stderr(lines: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # Nobody reads it any more.
        sys.stderr.write(lines)
        sys.stderr.flush()
