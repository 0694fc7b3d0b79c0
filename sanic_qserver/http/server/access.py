"""The access log: one line for each answer, written many at a time, so that it costs a request about a microsecond.

It goes to standard error as all logs do, but not through `logging`, which takes many times as long for a line. What
the line says of a request is put into words once for a head that comes again and again on one connection.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable
from time import perf_counter
from typing import Any

import msgspec
from msgspec import Struct
from sanic import HTTPResponse

from sanic_qserver.http.request_id import read_request_id
from sanic_qserver.http.server.request import DirectRequest
from sanic_qserver.http.server.response import Reply
from sanic_qserver.structs.identity import Principal

LOGGER = "sanic_qserver.access"
FLUSH_S = 0.25
_MOST_LINES = 256
_CLIENT_CLOSED, _SWITCHED = 499, 101
_TEXT = f"INFO    {LOGGER}:"
_JSON = f'"level":"INFO","logger":"{LOGGER}"'


class Described(Struct, frozen=True):
    """The parts of a line that stay: what was asked, what came of it, and who asked."""

    status: int
    principal: Principal | None
    asked: str
    caller: str


_Note = tuple[str, Described, str, int | None, float, str | None]
"""Time, description, id of the request, bytes (None: not sent in one piece), milliseconds, id of the trace."""


class AccessLog:
    """Notes each answer. `write` takes whole lines."""

    def __init__(self, form: str, write: Callable[[str], object] | None = None) -> None:
        """`form` is "text" or "json"."""
        self._is_json = form == "json"
        self._write = write or _write_to_stderr
        self._notes: list[_Note] = []
        self._timer: asyncio.TimerHandle | None = None
        self._second, self._told_second = 0, ""
        self._told_time, self._told_until = "", 0.0

    def note(self, request: DirectRequest, response: Any, started_at: float | None, *, is_websocket: bool) -> None:
        """A request was answered, or its client has left. `started_at`: `perf_counter()` when its head was there."""
        now = perf_counter()
        took_ms = 0.0 if started_at is None else (now - started_at) * 1000
        if now >= self._told_until:
            self._tell_time(now)
        size: int | None
        if type(response) is Reply:
            status, size = response.status, len(response.body)
        else:
            status, size = _look_at(response, is_websocket=is_websocket)
        known = request.ctx.__dict__
        principal, of_head = known.get("principal"), request.of_head
        told = of_head.described
        if told is None or told.status != status or told.principal is not principal:
            told = of_head.described = self._describe(request, status, principal)
        request_id = known.get("request_id") or read_request_id(request)
        self._notes.append((self._told_time, told, request_id, size, took_ms, known.get("trace_id")))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self.flush)
        elif len(self._notes) >= _MOST_LINES:
            self.flush()

    def _describe(self, request: DirectRequest, status: int, principal: Principal | None) -> Described:
        """Without the query, which may hold a key."""
        name = "" if principal is None else ":".join(filter(None, (principal.provider, principal.name)))
        address, method, path = request.client_ip, request.method, request.path
        message = f"{address} {method} {path} -> {status}"
        if self._is_json:
            facts = {"message": message, "address": address, "method": method, "path": path, "status": status}
            asked, caller = f"{_JSON},{_encode(facts)[1:-1]}", f',"principal":{_encode(name)}' if name else ""
        else:
            asked, caller = f"{_TEXT} {_one_line(message)}", _one_line(f" principal={name}") if name else ""
        return Described(status, principal, asked, caller)

    def _tell_time(self, now: float) -> None:
        """As `logging` tells it; for programs in UTC. Told again in the next millisecond."""
        second, rest = divmod(time.time(), 1)
        milliseconds = int(rest * 1000)
        self._told_until = now + (milliseconds + 1) / 1000 - rest
        if second != self._second:
            self._second = int(second)
            if self._is_json:
                self._told_second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            else:
                self._told_second = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        form = "{}.{:03d}+00:00" if self._is_json else "{},{:03d}"
        self._told_time = form.format(self._told_second, milliseconds)

    def flush(self) -> None:
        """Write what is there."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        notes, self._notes = self._notes, []
        if notes:
            self._write("".join(map(_to_json if self._is_json else _to_text, notes)))


def _to_text(note: _Note) -> str:
    told_time, told, request_id, size, took_ms, _ = note
    sent = "stream" if size is None else f"{size} B"
    return f"{told_time} {told.asked} {sent} {took_ms:.1f} ms [request_id={request_id}{told.caller}]\n"


def _to_json(note: _Note) -> str:
    told_time, told, request_id, size, took_ms, trace_id = note
    more = "" if size is None else f',"bytes":{size}'
    if trace_id is not None:
        more = f'{more},"trace_id":"{trace_id}"'
    return (
        f'{{"time":"{told_time}",{told.asked},"duration_ms":{took_ms:.2f},"request_id":"{request_id}"'
        f"{told.caller}{more}}}\n"
    )


def _look_at(response: Any, *, is_websocket: bool) -> tuple[int, int | None]:
    """Status and size; None for what was not sent in one piece."""
    if response is None:
        return (_SWITCHED if is_websocket else _CLIENT_CLOSED), None
    is_whole = isinstance(response, HTTPResponse) and response.headers.get("transfer-encoding") != "chunked"
    return response.status, len(response.body or b"") if is_whole else None


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
