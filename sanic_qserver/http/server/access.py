"""The access log: one line for each answer, written many at a time, so that it costs a request two microseconds.

It goes to standard error as all logs do, but not through `logging`, which takes many times as long for a line. What
the line says of a request is put into words once for a head that comes again and again on one connection.
"""

import asyncio
import contextlib
import math
import sys
import time
from collections.abc import Callable
from time import perf_counter
from typing import Any

from msgspec import Struct
from sanic import HTTPResponse

from sanic_qserver.http.request_id import read_request_id
from sanic_qserver.http.server.request import DirectRequest
from sanic_qserver.http.server.response import Reply
from sanic_qserver.json_text import encode_text
from sanic_qserver.structs.identity import Principal

LOGGER = "sanic_qserver.access"
FLUSH_S = 0.25
_MOST_LINES = 128
_MILLISECOND = 0.001
_CLIENT_CLOSED, _SWITCHED = 499, 101
_TEXT = f"INFO    {LOGGER}:"
_JSON = f'"level":"INFO","logger":"{LOGGER}"'


class Described(Struct, frozen=True):
    """The parts of a line that stay: what was asked, what came of it, and who asked."""

    status: int
    principal: Principal | None
    asked: str
    caller: str


_Note = tuple[float, float, Described, str, int | None, str | None]
"""When it was answered and how long that took (s), description, id of the request, bytes (None: not sent in one
piece), id of the trace."""


class AccessLog:
    """Notes each answer. `write` takes whole lines."""

    def __init__(self, form: str, write: Callable[[str], object] | None = None) -> None:
        """`form` is "text" or "json"."""
        self._is_json = form == "json"
        self._write = write or _write_to_stderr
        self._notes: list[_Note] = []
        self._timer: asyncio.TimerHandle | None = None
        self._second, self._told_second = 0.0, ""

    def note(self, request: DirectRequest, response: Any, started_at: float | None, is_websocket: bool) -> None:
        """A request was answered, or its client has left. `started_at`: `perf_counter()` when its head was there."""
        now, size = perf_counter(), None
        if type(response) is Reply:
            status, size = response.status, len(response.body)
        else:
            status, size = _look_at(response, is_websocket=is_websocket)
        known, of_head = request.ctx.__dict__, request.of_head
        told = of_head.described
        if told is None or told.status != status or told.principal is not known.get("principal"):
            told = of_head.described = self._describe(request, status, known.get("principal"))
        request_id = known.get("request_id") or read_request_id(request)
        notes = self._notes
        if not notes:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self.flush)
        notes.append((now, now - (started_at or now), told, request_id, size, known.get("trace_id")))
        if len(notes) >= _MOST_LINES:
            self.flush()

    def _describe(self, request: DirectRequest, status: int, principal: Principal | None) -> Described:
        """Without the query, which may hold a key."""
        name = "" if principal is None else ":".join(filter(None, (principal.provider, principal.name)))
        address, method, path = request.client_ip, request.method, request.path
        message = f"{address} {method} {path} -> {status}"
        if self._is_json:
            facts = {"message": message, "address": address, "method": method, "path": path, "status": status}
            asked, caller = f"{_JSON},{encode_text(facts)[1:-1]}", f',"principal":{encode_text(name)}' if name else ""
        else:
            asked, caller = f"{_TEXT} {_one_line(message)}", _one_line(f" principal={name}") if name else ""
        return Described(status, principal, asked, caller)

    def flush(self) -> None:
        """Write what is there."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        notes, self._notes = self._notes, []
        if notes:
            self._write("".join(self._put_into_words(notes)))

    def _put_into_words(self, notes: list[_Note]) -> list[str]:
        # In one loop, without a call for each line: that would be a tenth of what it costs.
        lines, told_time, until, offset = [], "", -math.inf, time.time() - perf_counter()
        is_json = self._is_json
        for at, took_s, told, request_id, size, trace_id in notes:
            if at >= until:  # Many share a millisecond.
                told_time, until = self._tell_time(at + offset), at + _MILLISECOND
            if is_json:
                more = "" if size is None else f',"bytes":{size}'
                if trace_id is not None:
                    more = f'{more},"trace_id":"{trace_id}"'
                lines.append(
                    f'{{"time":"{told_time}",{told.asked},"duration_ms":{took_s * 1000:.2f},'
                    f'"request_id":"{request_id}"{told.caller}{more}}}\n'
                )
            else:
                sent = "stream" if size is None else f"{size} B"
                lines.append(
                    f"{told_time} {told.asked} {sent} {took_s * 1000:.1f} ms [request_id={request_id}{told.caller}]\n"
                )
        return lines

    def _tell_time(self, at: float) -> str:
        """As `logging` tells it; for programs in UTC."""
        second, rest = divmod(at, 1)
        if second != self._second:
            self._second = second
            if self._is_json:
                self._told_second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            else:
                self._told_second = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        milliseconds = f"{int(rest * 1000):03d}"
        return f"{self._told_second}.{milliseconds}+00:00" if self._is_json else f"{self._told_second},{milliseconds}"


def _look_at(response: Any, *, is_websocket: bool) -> tuple[int, int | None]:
    """Status and size; None for what was not sent in one piece."""
    if response is None:
        return (_SWITCHED if is_websocket else _CLIENT_CLOSED), None
    is_whole = isinstance(response, HTTPResponse) and response.headers.get("transfer-encoding") != "chunked"
    return response.status, len(response.body or b"") if is_whole else None


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


def _write_to_stderr(lines: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # Nobody reads it any more.
        sys.stderr.write(lines)
        sys.stderr.flush()
