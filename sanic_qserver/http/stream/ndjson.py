"""Rows that read lines for as long as they come, and answer line by line meanwhile."""

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Sequence
from time import perf_counter
from typing import Any

import msgspec
from sanic import HTTPResponse, Request

from sanic_qserver.api.call import Call
from sanic_qserver.api.endpoint import LinesEndpoint
from sanic_qserver.api.services import Services
from sanic_qserver.errors import BodyTooLarge, GatewayError
from sanic_qserver.http.application import Handler
from sanic_qserver.http.bodies import Bodies
from sanic_qserver.http.decode import Decoder
from sanic_qserver.http.errors import problem, respond
from sanic_qserver.http.gate import Gate
from sanic_qserver.http.metrics.measuring import Metrics
from sanic_qserver.http.nesting import check_nesting
from sanic_qserver.http.request_id import REQUEST_ID
from sanic_qserver.http.server.connection import find_connection
from sanic_qserver.tasks import end_tasks

NDJSON = "application/x-ndjson"
_HEADERS = {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}
MOST_LINE_BYTES = 1_000_000
_MOST_WAITING_BYTES = 16_000_000  # Of results that the client does not read yet; then it has to.


def lines_handler(row: LinesEndpoint, gate: Gate, bodies: Bodies, services: Services, metrics: Metrics) -> Handler:
    """The way of a request whose body never has to end: gate, then lines in and out at the same time."""
    decoder = Decoder(row.params, max_nesting=services.config.server.max_nesting, forward_unknown=False)
    count = metrics.of(row)
    heartbeat_s = services.config.console.heartbeat_s
    serve_lines = row.serve_lines

    async def handle(request: Request) -> HTTPResponse | None:
        started_at = perf_counter()
        try:
            call, verdict = await gate.admit(request, row)
            find_connection(request).exempt()
            request.stream.request_max_size = math.inf  # type: ignore[union-attr]  # lines are bounded one by one
            call.params, _ = decoder.decode(b"", request.query_string, "")
            results = serve_lines(call, _lines(request, call))
            first = await anext(results)
        except GatewayError as error:
            bodies.limit(request, row.max_body_bytes)
            response = respond(error, request)
            count(response.status, started_at)
            return response
        headers = {REQUEST_ID: call.request_id, **_HEADERS, **verdict.headers}
        async with gate.hold_slot(call):
            writer = _Writer(await request.respond(headers=headers, content_type=NDJSON), heartbeat_s)
            try:
                await _write(writer, first, results, call)
            finally:
                await writer.close()
        count(200, started_at)
        return None

    handle.__name__ = row.name
    handle.is_stream = True  # type: ignore[attr-defined]  # how Sanic knows that the body is not to be read first
    return handle


async def _write(writer: "_Writer", first: bytes, results: AsyncIterator[bytes], call: Call) -> None:
    await writer.put(first)
    try:
        async for result in results:
            await writer.put(result)
    except GatewayError as error:
        await writer.put(msgspec.json.encode({"done": False, **problem(error, call.request_id)}))
    await writer.end()


async def _lines(request: Request, call: Call) -> AsyncIterator[Sequence[bytes]]:
    """The complete lines of each piece that arrives; empty ones are heartbeats of the client."""
    limit = call.services.config.server.max_nesting
    rest = b""
    stream: Any = request.stream
    while piece := await stream.read():
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > MOST_LINE_BYTES or any(len(line) > MOST_LINE_BYTES for line in lines):
            raise BodyTooLarge(f"A line is longer than {MOST_LINE_BYTES} bytes")
        if found := _checked(lines, limit):
            await call.check_again()
            yield found
    if found := _checked([rest], limit):
        await call.check_again()
        yield found


def _checked(lines: Sequence[bytes], limit: int) -> list[bytes]:
    found = [line for line in lines if line.strip()]
    for line in found:
        check_nesting(line, limit)
    return found


class _Writer:
    """Sends results while more lines are read: many clients read nothing before they have sent everything."""

    def __init__(self, response: Any, heartbeat_s: float) -> None:
        self._response = response
        self._heartbeat_s = heartbeat_s
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._has_ended = False
        self._something = asyncio.Event()
        self._room = asyncio.Event()
        self._task = asyncio.ensure_future(self._run())

    async def put(self, result: bytes) -> None:
        """Send a line soon. Waits when too many are not read."""
        self._waiting.append(result)
        self._bytes += len(result)
        self._something.set()
        while self._bytes > _MOST_WAITING_BYTES and not self._task.done():
            self._room.clear()
            await self._room.wait()

    async def end(self) -> None:
        """Send what is left, and the end."""
        self._has_ended = True
        self._something.set()
        await self._task
        await self._response.eof()

    async def close(self) -> None:
        """Stop, also when not everything was sent: the client is gone."""
        await end_tasks(self._task)

    async def _run(self) -> None:
        try:
            while True:
                try:
                    async with asyncio.timeout(self._heartbeat_s):
                        await self._something.wait()
                except TimeoutError:
                    await self._response.send(b"\n")
                    continue
                self._something.clear()
                while self._waiting:
                    lines = [self._waiting.popleft() for _ in range(min(len(self._waiting), 200))]
                    await self._response.send(b"\n".join(lines) + b"\n")
                    self._bytes -= sum(map(len, lines))
                    self._room.set()
                if self._has_ended:
                    return
        finally:
            self._room.set()
