"""What is sent on the wire: heads that repeat, bodies after them, large replies, and what middleware does to them."""

import asyncio
import gzip
import json

import pytest
from conftest import KEY, app_of
from sanic.compat import Header

from sanic_qserver.http.server.http1 import CachedHeadHttp
from sanic_qserver.http.server.response import Reply

HEAD = f"Host: x\r\nAuthorization: ApiKey {KEY}\r\n"


class Line:
    """One keep-alive connection, byte by byte."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def send(self, text, body=b""):
        self.writer.write(text.encode() + body)
        await self.writer.drain()

    async def answer(self, has_body=True):
        """Status, headers by lower-case name, body."""
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in head[1:] if line)
        headers = {name.lower(): value for name, value in headers.items()}
        length = int(headers.get("content-length", 0)) if has_body else 0
        return int(head[0].split()[1]), headers, await self.reader.readexactly(length)

    async def ask(self, text, body=b"", has_body=True):
        await self.send(text, body)
        return await self.answer(has_body)


@pytest.fixture
async def line(sanic_client, make_config):
    """A connection to a server of its own, and the requests that its heads were parsed for."""
    client = await sanic_client(app_of(make_config()))
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    yield Line(reader, writer)
    writer.close()


@pytest.fixture
def parsed(monkeypatch):
    """The heads that were read anew, not taken from the request before."""
    heads = []
    remember = CachedHeadHttp._remember

    def noted(self):
        heads.append(self.request.head)
        remember(self)

    monkeypatch.setattr(CachedHeadHttp, "_remember", noted)
    return heads


def get(path, more=""):
    return f"GET {path} HTTP/1.1\r\n{HEAD}{more}\r\n"


def post(path, body, more=""):
    return f"POST {path} HTTP/1.1\r\n{HEAD}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n{more}\r\n"


async def test_a_head_that_repeats_is_parsed_once(line, parsed):
    answers = [await line.ask(get("/api/status")) for _ in range(3)]
    assert [status for status, _, _ in answers] == [200, 200, 200]
    assert len(parsed) == 1
    assert len({headers["x-request-id"] for _, headers, _ in answers}) == 3


async def test_another_head_is_parsed_whatever_it_has_in_common(line, parsed):
    for more in ("", "X-More: 1\r\n", "X-More: 12\r\n", ""):
        status, _, _ = await line.ask(get("/api/status", more))
        assert status == 200
    assert (await line.ask(get("/api/nothing")))[0] == 404
    status, _, _ = await line.ask(f"GET /api/status HTTP/1.1\r\nHost: x\r\nAuthorization: ApiKey {KEY}x\r\n\r\n")
    assert status == 401
    assert len(parsed) == 6


async def test_who_asks_is_told_by_the_head_that_came_not_by_the_one_before(line):
    mine, nobodys = get("/api/auth/whoami"), get("/api/auth/whoami").replace(KEY, "another")
    statuses = [(await line.ask(text))[0] for text in (mine, mine, nobodys, nobodys, mine, mine)]
    assert statuses == [200, 200, 401, 401, 200, 200]


async def test_the_body_is_each_request_s_own_under_the_same_head(line, parsed):
    for name in ("aaaa", "bbbb", "cccc"):
        body = json.dumps({"item": {"name": name, "item_type": "plan"}}).encode()
        status, _, reply = await line.ask(post("/api/queue/item/add", body), body)
        assert status == 200
        assert json.loads(reply)["item"]["name"] == name
    assert len(parsed) == 1


async def test_a_body_may_come_late_and_in_pieces_under_the_same_head(line, parsed):
    body = json.dumps({"item": {"name": "dddd", "item_type": "plan"}}).encode()
    for _ in range(2):
        await line.send(post("/api/queue/item/add", body))
        for byte in range(0, len(body), 7):
            await asyncio.sleep(0.005)
            await line.send("", body[byte : byte + 7])
        status, _, reply = await line.answer()
        assert (status, json.loads(reply)["item"]["name"]) == (200, "dddd")
    assert len(parsed) == 1


async def test_requests_sent_at_once_are_answered_in_order(line):
    paths = ["/api/ping", "/api/ping", "/api/queue/get?limit=1", "/api/ping", "/api/ping"]
    await line.send("".join(get(path) for path in paths))
    replies = [json.loads((await line.answer())[2]) for _ in paths]
    assert ["total" in reply for reply in replies] == ["limit" in path for path in paths]


async def test_a_head_cut_anywhere_is_read_whole(line, parsed):
    text = get("/api/ping")
    await line.ask(text)
    for cut in (1, len(text) // 2, len(text) - 3, len(text) - 1):
        await line.send(text[:cut])
        await asyncio.sleep(0.01)
        assert (await line.ask(text[cut:]))[0] == 200
    assert all(head == parsed[0] for head in parsed)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (get("/api/ping", "Connection: close\r\n"), "close"),
        (f"GET /api/ping HTTP/1.0\r\n{HEAD}\r\n", "close"),
        (get("/api/ping"), "keep-alive"),
    ],
)
async def test_the_connection_is_kept_or_closed_as_the_client_asks(line, text, expected):
    await line.ask(get("/api/ping"))
    status, headers, _ = await line.ask(text)
    assert (status, headers["connection"]) == (200, expected)
    if expected == "close":
        assert await asyncio.wait_for(line.reader.read(1), 10) == b""


async def test_head_answers_no_body_before_and_after_get(line):
    for _ in range(2):
        status, headers, _ = await line.ask(f"HEAD /api/ping HTTP/1.1\r\n{HEAD}\r\n", has_body=False)
        assert status == 200
        assert int(headers["content-length"]) > 0
        assert (await line.ask(get("/api/ping")))[0] == 200


async def test_chunked_and_expected_bodies_follow_the_same_head(line):
    body = json.dumps({"item": {"name": "eeee", "item_type": "plan"}}).encode()
    head = f"POST /api/queue/item/add HTTP/1.1\r\n{HEAD}Content-Type: application/json\r\n"
    for _ in range(2):
        chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        status, _, reply = await line.ask(f"{head}Transfer-Encoding: chunked\r\n\r\n", chunk)
        assert (status, json.loads(reply)["item"]["name"]) == (200, "eeee")
        await line.send(f"{head}Expect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n")
        assert await line.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert (await line.ask("", body))[0] == 200


async def test_a_304_has_neither_body_nor_length(line):
    _, headers, _ = await line.ask(get("/api/plans/allowed"))
    for _ in range(2):
        status, again, body = await line.ask(get("/api/plans/allowed", f"If-None-Match: {headers['etag']}\r\n"))
        assert (status, body, again["etag"]) == (304, b"", headers["etag"])
        assert "content-length" not in again
        assert "content-type" not in again


async def test_a_large_reply_arrives_whole_at_a_slow_reader(line):
    whole = (await line.ask(get("/api/plans/existing")))[2]
    assert len(whole) > 50_000
    await line.send(get("/api/plans/existing") * 400)
    await asyncio.sleep(0.5)  # The client's and the server's buffers are full by now.
    for _ in range(400):
        assert (await line.answer())[2] == whole


async def test_a_compressed_reply_is_the_plain_one(line):
    plain = (await line.ask(get("/api/plans/existing")))[2]
    _, headers, packed = await line.ask(get("/api/plans/existing", "Accept-Encoding: gzip\r\n"))
    assert headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed) == plain


async def test_what_a_handler_does_to_the_headers_does_not_come_back(sanic_client, make_config):
    app = app_of(make_config())

    @app.on_request
    async def change(request):
        assert "x-changed" not in request.headers
        request.headers["x-changed"] = "1"

    client = await sanic_client(app)
    line = Line(*await asyncio.open_connection("127.0.0.1", client.port))
    for _ in range(3):
        assert (await line.ask(get("/api/ping")))[0] == 200
    line.writer.close()


async def test_headers_that_middleware_adds_are_sent(sanic_client, make_config):
    app = app_of(make_config())

    @app.on_response
    async def add(_, response):
        response.headers["X-Site"] = "beamline"
        del response.headers["x-content-type-options"]

    client = await sanic_client(app)
    line = Line(*await asyncio.open_connection("127.0.0.1", client.port))
    for _ in range(2):
        status, headers, body = await line.ask(get("/api/ping"))
        assert (status, headers["x-site"], headers["content-type"]) == (200, "beamline", "application/json")
        assert "x-content-type-options" not in headers
        assert json.loads(body)["msg"]
    line.writer.close()


async def test_sanic_s_signals_reach_who_listens(sanic_client, make_config):
    app = app_of(make_config())
    seen = []

    @app.signal("http.lifecycle.request")
    async def note(request):
        seen.append(request.path)

    client = await sanic_client(app)
    line = Line(*await asyncio.open_connection("127.0.0.1", client.port))
    for _ in range(3):
        assert (await line.ask(get("/api/ping")))[0] == 200
    line.writer.close()
    assert seen == ["/api/ping"] * 3


def test_a_value_that_breaks_the_line_is_left_to_sanic():
    assert Reply(b"{}", 200, {"ETag": "a\r\nX-Evil: 1"}, "application/json").head(keep_alive=True) is None
    assert Reply(b"{}", 200, {"ETag": "a\nb"}, "application/json").head(keep_alive=True) is None
    assert Reply(b"{}", 200, {"X-Unknown": "a"}, "application/json").head(keep_alive=True) is None
    assert Reply(b"{}", 200, {}, "text/plain\r\nX-Evil: 1").head(keep_alive=True) is None


@pytest.mark.parametrize("status", [218, 299, 599])
async def test_an_extension_may_answer_with_a_status_of_its_own(status, sanic_client, make_config):
    app = app_of(make_config())

    @app.get("/own")
    async def own(_):
        return Reply(b"mine", status, {"ETag": "a"}, "text/plain")

    client = await sanic_client(app)
    answer = await client.get("/own")
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (status, b"mine", "a")


def test_headers_somebody_looked_at_are_left_to_sanic():
    reply = Reply(b"{}", 200, {"ETag": "a"}, "application/json")
    assert reply.head(keep_alive=True) is not None
    assert reply.headers == Header({"ETag": "a"})
    assert reply.head(keep_alive=True) is None
