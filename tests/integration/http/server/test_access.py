"""The access log: a line for each answer, whatever it was, and no secret in it."""

import asyncio
import json
import re

import pytest
from conftest import KEY, until_connected
from servers import app_of

from sanic_qserver.http.server.access import AccessLog


@pytest.fixture
def start(sanic_client, make_config):
    async def start(form):
        app = app_of(make_config(server={"access_log": True}))
        written = []
        app.ctx.access_log = AccessLog(form, written.append)
        client = await sanic_client(app)
        client.headers["Authorization"] = f"ApiKey {KEY}"
        await until_connected(client)

        async def read(count):
            end = asyncio.get_running_loop().time() + 10
            while len(lines := "".join(written).splitlines()) < count:
                assert asyncio.get_running_loop().time() < end, lines
                await asyncio.sleep(0.02)
            assert KEY not in "".join(written)
            assert len(lines) == count
            return lines

        return client, read

    return start


async def test_a_line_for_programs_has_every_fact(start):
    client, read = await start("json")
    answers = [
        await client.get("/api/status"),
        await client.get(f"/api/queue/get?api_key={KEY}", headers={"Authorization": "", "X-Request-ID": "mine"}),
        await client.get("/api/no/such/path"),
        await client.post("/api/queue/clear", headers={"Authorization": "ApiKey wrong"}),
        await client.head("/api/ping"),
    ]
    lines = [json.loads(line) for line in await read(len(answers))]
    for line, answer in zip(lines, answers, strict=True):
        assert line["status"] == answer.status_code
        assert line["path"] == answer.request.url.path
        assert line["method"] == answer.request.method
        assert line["request_id"] == answer.headers["X-Request-ID"]
        assert (line["address"], line["logger"], line["level"]) == ("127.0.0.1", "sanic_qserver.access", "INFO")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"])
        assert line["duration_ms"] > 0
    assert lines[0]["bytes"] == len(answers[0].content)
    assert lines[1]["request_id"] == "mine"
    assert ["principal" in line for line in lines] == [True, True, False, False, True]


async def test_a_line_for_persons(start):
    client, read = await start("text")
    await client.get("/api/status", headers={"X-Request-ID": "mine"})
    (line,) = await read(1)
    told = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO    sanic_qserver\.access: 127\.0\.0\.1 GET /api/status -> 200 "
    assert re.fullmatch(told + r"\d+ B \d+\.\d ms \[request_id=mine principal=\S+\]", line)


HEAD = f"GET {{}} HTTP/1.1\r\nHost: localhost\r\nAuthorization: ApiKey {KEY}\r\n\r\n"
WEBSOCKET = HEAD.format("/api/status/ws")[:-2] + (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


async def send(client, text):
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(text.encode())
    return reader, writer


async def answer(client, text):
    """The first line of the answer."""
    reader, writer = await send(client, text)
    line = await reader.readline()
    writer.close()
    return line


async def test_streams_websockets_bad_requests_and_clients_that_leave_are_told_too(start):
    client, read = await start("json")
    async with client.stream("GET", "/api/stream_console_output") as stream:
        assert stream.status_code == 200
    assert b" 101 " in await answer(client, WEBSOCKET)
    assert b" 400 " in await answer(client, "GET / HTTP/1.1\r\nno colon here\r\n\r\n")
    _, writer = await send(client, HEAD.format("/api/status?wait_for=re_state=paused"))
    while not client.app.ctx.services.live.waits.count:
        await asyncio.sleep(0.02)
    writer.close()
    found = {(line["path"], line["status"], "bytes" in line) for line in map(json.loads, await read(4))}
    assert found == {
        ("/api/stream_console_output", 200, False),
        ("/api/status/ws", 101, False),
        ("/api/status", 499, False),
        ("*", 400, True),
    }


async def test_lines_are_written_together_and_what_is_left_at_the_end(start):
    client, _ = await start("text")
    log = client.app.ctx.access_log
    pieces = []
    log._write = pieces.append
    await asyncio.gather(*(client.get("/api/ping") for _ in range(20)))
    log.flush()
    assert sum(piece.count("\n") for piece in pieces) == 20
    assert len(pieces) < 20
