"""One connection of a server without RE Manager: what is refused, and what ends."""

import asyncio
import itertools
import json
import logging
import os
import socket
import struct

import pytest
from conftest import KEY, app_of, until_so

from sanic_qserver.config.settings import load
from sanic_qserver.http.server.connections import Connections
from unit.http.server.test_heads import AMBIGUOUS

HOST = b"Host: localhost\r\n"
PING = b"GET /nothing/first HTTP/1.1\r\n" + HOST + b"\r\n"  # Answered with 404, without RE Manager.
HIDDEN = b"GET /nothing/hidden HTTP/1.1\r\n" + HOST + b"\r\n"
KEYED = b"Host: x\r\nAuthorization: ApiKey " + KEY.encode() + b"\r\n"


class Line:
    """A connection, byte by byte."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self):
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 20)
        headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        body = await self.reader.readexactly(int(headers.get(b"content-length", b"0")))
        return int(head.split()[1]), body

    async def rest(self):
        """All that comes until the server closes the connection."""
        try:
            return await asyncio.wait_for(self.reader.read(), 20)
        except ConnectionError:
            return b""


@pytest.fixture
async def serve(sanic_client, caplog):
    """Start a server with settings of its `[server]`; gives a function that connects to it."""
    lines = []

    async def start(**settings):
        config = load(environment={}, overrides={"auth": {"single_user_api_key": KEY}, "server": settings})
        client = await sanic_client(app_of(config))

        async def connect(*pieces):
            line = Line(*await asyncio.open_connection("127.0.0.1", client.port))
            lines.append(line)
            for piece in pieces:
                await line.send(piece)
            return line

        connect.app, connect.port = client.app, client.port
        return connect

    yield start
    for line in lines:
        line.writer.transport.abort()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("is_cached", [False, True], ids=["first", "after a cached head"])
async def test_an_ambiguous_head_hides_no_second_request(serve, is_cached):
    connect = await serve()
    for why, head in AMBIGUOUS.items():
        line = await connect(*([PING] if is_cached else []))
        if is_cached:
            await line.answer()
        await line.send(head + b"\r\n\r\n" + HIDDEN)
        answers = await line.rest()
        assert answers.count(b"HTTP/1.1 ") == 1, why
        assert answers.startswith(b"HTTP/1.1 400 "), why
        line.writer.close()


async def test_a_head_with_bare_line_ends_is_refused_without_waiting_for_more(serve):
    connect = await serve(body_timeout_s=1000.0)
    line = await connect(b"GET / HTTP/1.1\nHost: x\n\n")
    assert (await line.rest()).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "chunks",
    [b"zz\r\n", b"z", b"5 \r\nhello\r\n0\r\n\r\n", b"0x5\r\nhello", b"5\r\nhelloXX0\r\n\r\n", b"5\r\nhello\n0\r\n\r\n",
     b"0\r\nContent-Length: 5\r\n\r\n", b"5\nhello\r\n0\r\n\r\n", b"-1\r\n"],
)  # fmt: skip
@pytest.mark.parametrize("path", [b"/api/queue/item/add", b"/api/queue/item/add/stream", b"/nothing"])
async def test_malformed_chunks_are_refused_at_once(serve, path, chunks):
    connect = await serve(body_timeout_s=1000.0)
    line = await connect(b"POST " + path + b" HTTP/1.1\r\n" + KEYED + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    await line.send(HIDDEN)
    answers = await line.rest()
    assert answers.count(b"HTTP/1.1 ") == 1
    assert b" 400 " in answers or path == b"/nothing"


SLOW = {
    "a body that never comes": b"Content-Length: 5\r\n\r\n",
    "a body of chunks that never comes": b"Transfer-Encoding: chunked\r\n\r\n",
    "chunks without the last line end": b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n",
    "a head without an end": b"X-A: b\r\n",
}


PATHS = [b"POST /api/queue/item/add", b"POST /api/queue/item/add/stream", b"GET /nothing", b"GET /api/events"]
UPGRADES = [b"", b"Upgrade: websocket\r\nConnection: Upgrade\r\n"]


async def test_what_does_not_arrive_is_cut_off_whatever_it_asks_for(serve):
    connect = await serve(body_timeout_s=0.1)
    heads = [path + b" HTTP/1.1\r\n" + HOST + upgrade for path in PATHS for upgrade in UPGRADES]
    lines = [await connect(head + rest) for head in heads for rest in SLOW.values()]
    assert len(connect.app.ctx.connections) == len(lines)
    await asyncio.gather(*(line.rest() for line in lines))
    await until_so(lambda: not connect.app.ctx.connections)


async def test_a_handshake_with_a_body_is_none(serve):
    connect = await serve(body_timeout_s=0.1)
    for header, body in (
        (b"Content-Length: 5", b""),
        (b"Content-Length: 5", b"hello"),
        (b"Transfer-Encoding: chunked", b"0\r\n\r\n"),
    ):
        line = await connect(handshake("/api/status/ws", header + b"\r\n") + body)
        assert (await line.rest()).startswith(b"HTTP/1.1 400 ")


async def test_a_drip_on_a_streamed_row_does_not_survive_its_own_401(serve):
    connect = await serve(body_timeout_s=0.1)
    line = await connect(b"POST /api/queue/item/add/stream HTTP/1.1\r\n" + HOST + b"Content-Length: 100000\r\n\r\n")
    assert (await line.answer())[0] == 401
    gone = asyncio.create_task(line.rest())
    for number in itertools.count():
        if gone.done():
            break
        line.writer.write(b"a")
        await asyncio.sleep(0.02)
        assert number < 1000
    await until_so(lambda: not connect.app.ctx.connections)


async def test_an_early_answer_is_read_by_a_client_that_goes_on_sending(serve):
    connect = await serve(max_body_bytes=1000)
    line = await connect(b"POST /api/queue/item/add HTTP/1.1\r\n" + KEYED + b"Content-Length: 3000000\r\n\r\n")
    await line.send(b"a" * 3_000_000)
    assert (await line.rest()).startswith(b"HTTP/1.1 413 ")


async def test_a_refused_body_above_the_rate_for_such_is_waited_for(serve, monkeypatch):
    monkeypatch.setattr("sanic_qserver.http.server.connections._DROPPED_PER_S", 8_000_000)
    connect = await serve(max_body_bytes=1000)
    head = b"POST /api/queue/item/add HTTP/1.1\r\n" + KEYED + b"Content-Length: 20000000\r\n\r\n"

    def send_all_before_the_answer_is_read():
        with socket.create_connection(("127.0.0.1", connect.port), timeout=20) as line:
            line.sendall(head + b"a" * 20_000_000)
            return line.recv(100)

    assert (await asyncio.to_thread(send_all_before_the_answer_is_read)).startswith(b"HTTP/1.1 413 ")


def test_what_is_dropped_has_a_rate_and_a_flood_has_an_end(monkeypatch):
    monkeypatch.setattr("sanic_qserver.http.server.connections._DROPPED_PER_S", 100)
    monkeypatch.setattr("sanic_qserver.http.server.connections.monotonic", lambda: now)
    connections, now = Connections(100, 100, 1.0, 1.0), 1000.0
    assert [connections.drop(size) for size in (100, 50, 100, 60, 1)] == [0.0, 0.5, 1.5, pytest.approx(2.1), None]
    now += 1.1
    assert connections.drop(0) == pytest.approx(1.0)
    now += 100
    assert connections.drop(100) == 0.0


async def test_a_body_of_tiny_chunks_is_refused(serve):
    connect = await serve()
    head = b"POST /api/queue/item/add HTTP/1.1\r\n" + KEYED + b"Transfer-Encoding: chunked\r\n\r\n"
    line = await connect(head + b"1\r\n \r\n" * 6000)
    assert (await line.rest()).startswith(b"HTTP/1.1 400 ")


async def test_answers_that_nobody_reads_are_cut_off(serve):
    connect = await serve(write_stall_s=0.1)
    ask = b"GET /docs/assets/swagger-ui-bundle.js HTTP/1.1\r\n" + HOST + b"\r\n"
    for _ in range(5):
        await connect(ask * 20)
    assert len(connect.app.ctx.connections) == 5
    await until_so(lambda: not connect.app.ctx.connections)


async def test_an_answer_that_is_read_slowly_arrives_whole(serve):
    connect = await serve(write_stall_s=1.0)
    ask = b"GET /docs/assets/swagger-ui-bundle.js HTTP/1.1\r\n" + HOST + b"\r\n"
    whole = (await (await connect(ask)).answer())[1]
    line = await connect(ask * 12)
    for _ in range(12):
        await asyncio.sleep(0.2)
        assert (await line.answer())[1] == whole


async def test_who_sends_more_requests_than_may_wait_is_cut_off(serve):
    connect = await serve()
    line = await connect()
    ask = b"GET /docs/assets/swagger-ui-bundle.js HTTP/1.1\r\n" + HOST + b"\r\n"
    with pytest.raises(ConnectionError):  # noqa: PT012  # whichever piece it is that is not taken
        for _ in range(1000):
            await line.send(ask * 100)
            await asyncio.sleep(0)
    await until_so(lambda: not connect.app.ctx.connections)


async def test_a_connection_too_many_is_told_so_and_another_may_come_when_one_has_left(serve):
    connect = await serve(max_connections=3)
    lines = [await connect(PING) for _ in range(3)]
    assert [(await line.answer())[0] for line in lines] == [404] * 3
    refused = await connect()
    status, body = await refused.answer()
    assert (status, json.loads(body)["code"]) == (503, "overloaded")
    assert await refused.rest() == b""
    lines[0].writer.close()
    await until_so(lambda: len(connect.app.ctx.connections) == 2)
    assert (await (await connect(PING)).answer())[0] == 404


async def test_connections_are_counted_by_address(serve):
    connect = await serve(max_connections_per_address=2)
    assert [(await (await connect(PING)).answer())[0] for _ in range(3)] == [404, 404, 503]


class Idle:
    def look(self, now): ...


async def test_an_ipv6_network_counts_as_one_address_and_a_unix_socket_as_none():
    connections = Connections(100, 1, 1.0, 1.0)
    tried = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "::ffff:10.0.0.1", "10.0.0.1", "fe80::1%eth0", "", "",
             "nonsense", "non:sense"]  # fmt: skip
    assert [connections.enter(Idle(), address) for address in tried] == [
        True, False, True, True, False, True, True, True, True, True,
    ]  # fmt: skip
    connections._timer.cancel()


def handshake(path, more=b"", key=b"dGhlIHNhbXBsZSBub25jZQ=="):
    return (
        f"GET {path} HTTP/1.1\r\n".encode() + KEYED + b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n" + more + b"\r\n"
    )


def frame(first, payload):
    mask, size = os.urandom(4), len(payload)
    head = bytes((first, 0x80 | size)) if size < 126 else struct.pack("!BBH", first, 0x80 | 126, size)
    return head + mask + bytes(byte ^ mask[number % 4] for number, byte in enumerate(payload))


async def close_code(line):
    """The code of the close frame, which is the last that comes."""
    rest = await line.rest()
    at = rest.rindex(b"\x88")
    return int.from_bytes(rest[at + 2 : at + 4], "big")


INVALID = {
    "one frame": [frame(0x81, b"\xff")],
    "a lone surrogate": [frame(0x81, b"\xed\xa0\x80")],
    "cut at its end": [frame(0x81, b"\xc3")],
    "in the second fragment": [frame(0x01, b"\xc3"), frame(0x80, b"\x28")],
    "before its last fragment": [frame(0x01, b"\xff")],
}


@pytest.mark.parametrize("why", INVALID)
async def test_text_that_is_not_utf_8_closes_a_websocket_at_once(serve, why):
    connect = await serve()
    line = await connect(handshake("/api/console_output/ws"))
    await line.reader.readuntil(b"\r\n\r\n")
    for piece in INVALID[why]:
        await line.send(piece)
    assert await close_code(line) == 1007


async def test_a_message_of_endless_empty_fragments_closes_a_websocket(serve):
    connect = await serve()
    line = await connect(handshake("/api/console_output/ws"), frame(0x01, b"") + frame(0x00, b"") * 5000)
    await line.reader.readuntil(b"\r\n\r\n")
    assert await close_code(line) == 1009


async def test_who_pings_without_end_is_closed(serve):
    connect = await serve()
    line = await connect(handshake("/api/console_output/ws"), frame(0x89, b"") * 20)
    await line.reader.readuntil(b"\r\n\r\n")
    assert await asyncio.wait_for(line.reader.readexactly(40), 20) == b"\x8a\x00" * 20
    await line.send(frame(0x89, b""))
    assert await close_code(line) == 1008


@pytest.mark.parametrize("key", [b"", b"\xff\xfe", b"short", "ключ".encode(), b"a" * 500])
async def test_a_handshake_with_a_bad_key_is_refused_with_400(serve, key):
    connect = await serve()
    line = await connect(handshake("/api/console_output/ws", key=key))
    assert (await line.answer())[0] == 400


async def test_an_error_after_the_handshake_is_told_as_a_close_frame(serve, monkeypatch, caplog):
    connect = await serve()
    monkeypatch.setattr("sanic_qserver.http.stream.websocket.admit_websocket", None)
    line = await connect(handshake("/api/console_output/ws"))
    rest = await line.rest()
    assert rest.count(b"HTTP/1.1 ") == 1
    at = rest.rindex(b"\x88")
    assert int.from_bytes(rest[at + 2 : at + 4], "big") == 1011
    assert [record.getMessage()[:31] for record in caplog.records if record.levelno >= logging.ERROR] == [
        "Unexpected error on a websocket"
    ]
    caplog.clear()


async def test_clients_that_leave_are_no_errors(serve):
    connect = await serve()
    events = b"GET /api/events HTTP/1.1\r\n" + KEYED + b"\r\n"
    half = b"POST /api/queue/item/add HTTP/1.1\r\n" + KEYED + b"Content-Length: 50\r\n\r\n{"
    whole = b"POST /api/queue/item/add HTTP/1.1\r\n" + KEYED + b"Content-Length: 2\r\n\r\n{}"
    lines = b"POST /api/queue/item/add/stream HTTP/1.1\r\n" + KEYED + b"Transfer-Encoding: chunked\r\n\r\n"
    asked = [PING, PING[:20], events, half, whole, lines, lines + b"5\r\n", handshake("/api/console_output/ws"),
             b"GET /docs/assets/swagger-ui-bundle.js HTTP/1.1\r\n" + HOST + b"\r\n"]  # fmt: skip
    for data, is_reset in itertools.product(asked, (False, True)):
        line = await connect(data)
        await asyncio.sleep(0.02)
        if is_reset:
            line.writer.transport.abort()
        else:
            line.writer.close()
    await until_so(lambda: not connect.app.ctx.connections)
