"""Many watchers at the cost of one: nobody misses a line, and the slow delay nobody."""

import asyncio
import gc
import json
import zlib

import pytest
from conftest import KEY, app_of, until_so
from sanic.server.websockets.impl import WebsocketImplProtocol
from watching import Closed, Events, Watcher, all_leave

from sanic_qserver.config.settings import ConsoleConfig, LiveConfig
from sanic_qserver.http.stream.compression import HEADER, accepts_gzip, block
from sanic_qserver.http.stream.subscribers import Subscription
from sanic_qserver.manager.console.output import Console
from sanic_qserver.manager.live.broadcaster import Broadcaster
from sanic_qserver.manager.live.lines import join_lines
from sanic_qserver.manager.live.subscriber import Framing, Message, Subscriber

HEADERS = {"Authorization": f"ApiKey {KEY}"}
PATH = "/api/console_output/ws"


def publish(client, count, start=0, size=60):
    """Console output as if RE Manager had published it."""
    for number in range(start, start + count):
        text = f"line {number} {'x' * size}\n"
        payload = json.dumps({"time": 1.5, "msg": text}).encode()
        client.app.ctx.services.live._hear("QS_Console", payload)


def numbers_of(texts):
    """The numbers of the test's lines; RE Manager's own output is left out."""
    lines = [json.loads(text)["msg"] for text in texts]
    return [int(line.split()[1]) for line in lines if line.startswith("line ")]


async def read_numbers(watcher, until, timeout_s=20):
    numbers = []
    while not numbers or numbers[-1] != until:
        numbers += numbers_of([await watcher.recv(timeout_s)])
    return numbers


async def connected(client, count, **how):
    return [await Watcher.connect(client.port, PATH, HEADERS, **how) for _ in range(count)]


async def test_every_watcher_gets_every_line_in_order(client):
    channel = client.app.ctx.services.live.console
    watchers = await connected(client, 40)
    await until_so(lambda: channel.subscriber_count == 40)
    readers = [asyncio.ensure_future(read_numbers(watcher, 1999)) for watcher in watchers]
    for start in range(0, 2000, 100):
        publish(client, 100, start)
        await asyncio.sleep(0.01)
    for numbers in await asyncio.gather(*readers):
        assert numbers == list(range(2000))
    for watcher in watchers:
        await watcher.leave()
    await until_so(lambda: channel.subscriber_count == 0)


@pytest.mark.parametrize("encoding", ["", "gzip"])
@pytest.mark.parametrize(("accept", "lines_of"), [
    ("text/event-stream", lambda body: [line[6:] for line in body.split("\n") if line.startswith("data: ")]),
    ("application/x-ndjson", lambda body: [line for line in body.split("\n") if line]),
    ("text/plain", lambda body: [part if part.startswith("{") else "{" + part
                                 for part in body.replace("}{", "}\n{").split("\n")]),
])  # fmt: skip
async def test_every_line_comes_over_http_in_the_form_that_is_accepted(client, accept, lines_of, encoding):
    channel = client.app.ctx.services.live.console
    body = b""
    headers = {"Accept": accept, "Accept-Encoding": encoding}
    async with client.stream("GET", "/api/stream_console_output", headers=headers) as reply:
        assert reply.headers["Content-Type"].startswith(accept)
        assert reply.headers.get("Content-Encoding", "") == (encoding if accept != "text/plain" else "")
        await until_so(lambda: channel.subscriber_count == 1)
        publish(client, 500)
        async for chunk in reply.aiter_bytes():
            body += chunk
            if b"line 499 " in body:
                break
    assert numbers_of(lines_of(body.decode())) == list(range(500))
    await until_so(lambda: channel.subscriber_count == 0)


async def test_a_watcher_that_stops_reading_delays_nobody_and_is_told_what_it_missed(sanic_client, make_config):
    client = await sanic_client(app_of(make_config(console={"max_watcher_messages": 300})))
    channel = client.app.ctx.services.live.console
    slow = (await connected(client, 1, receive_buffer=4096))[0]
    fast = (await connected(client, 1))[0]
    await until_so(lambda: channel.subscriber_count == 2)
    reader = asyncio.ensure_future(read_numbers(fast, 1999))
    for start in range(0, 2000, 10):
        publish(client, 10, start, size=8000)
        await asyncio.sleep(0.001)
    assert await reader == list(range(2000))
    assert channel.lagging_count == 1
    subscriber = next(iter(channel._lagging))
    assert subscriber._behind_count <= 300
    numbers, missed = [], 0
    while not numbers or numbers[-1] != 1999:
        text = await slow.recv()
        message = json.loads(text)
        assert set(message) == {"time", "msg"}
        if "messages were dropped" in message["msg"]:
            missed += int(message["msg"].split()[0].strip("["))
        numbers += numbers_of([text])
    assert missed > 0
    assert len(numbers) + missed >= 2000  # RE Manager's own messages may be among those missed.
    assert numbers == sorted(set(numbers))
    await until_so(lambda: channel.lagging_count == 0)


async def test_a_watcher_whose_network_takes_nothing_is_cut_off(sanic_client, make_config):
    client = await sanic_client(app_of(make_config(live={"stall_s": 0.3})))
    channel = client.app.ctx.services.live.console
    slow = (await connected(client, 1, receive_buffer=4096))[0]
    await until_so(lambda: channel.subscriber_count == 1)
    for start in range(0, 2000, 10):
        publish(client, 10, start, size=8000)
        await asyncio.sleep(0.001)
    await until_so(lambda: channel.subscriber_count == 0)
    await slow.leave()


def test_the_pieces_of_a_line_become_one_message():
    pieces = [b'{"time": 1.0, "msg": "a"}', b'{"time": 2.0, "msg": " "}', b'{"time": 3.0, "msg": "b\\n"}',
              b'{"time": 4.0, "msg": "c\\n"}', b'{"time": 5.0, "msg": "open"}']  # fmt: skip
    joined = [json.loads(m.body) for m in join_lines([Message("console", piece) for piece in pieces])]
    assert joined == [{"time": 1.0, "msg": "a b\n"}, {"time": 4.0, "msg": "c\n"}, {"time": 5.0, "msg": "open"}]


def test_what_is_no_console_message_is_passed_on():
    messages = [Message("console", b'{"other": 1}'), Message("console", b"[]")]
    assert join_lines(messages)[0] == messages[0]


async def test_a_message_is_framed_once_for_all_watchers(client):
    framed = []

    def frame(message):
        framed.append(message)
        return message.body

    class Transport:
        written = b""

        def write(self, data):
            self.written += data

        def get_write_buffer_size(self):
            return 0

        def get_extra_info(self, _):
            return None

        def is_closing(self):
            return False

    framing = Framing(frame)
    channel = Broadcaster(LiveConfig())
    transports = [Transport() for _ in range(100)]
    for transport in transports:
        Subscriber(channel, frozenset({"console"}), None, 10).attach(transport, framing)
    channel.publish([Message("console", b"1"), Message("other", b"2"), Message("console", b"3")])
    await until_so(lambda: transports[-1].written)
    assert len(framed) == 2
    assert {transport.written for transport in transports} == {b"13"}


async def test_watchers_are_told_that_the_server_stops(client):
    watcher = (await connected(client, 1))[0]
    await until_so(lambda: len(client.app.ctx.subscriptions) == 1)
    async with client.stream("GET", "/api/stream_console_output", headers={"Accept": "text/event-stream"}) as reply:
        chunks = reply.aiter_bytes()
        assert await anext(chunks)
        await client.app.ctx.subscriptions.stop()
        async with asyncio.timeout(5):
            async for _ in chunks:
                pass
    with pytest.raises(Closed) as closed:
        await watcher.recv()
    assert closed.value.args[0] == 1001


async def test_a_permission_that_is_taken_away_ends_the_stream(sanic_client, make_config, tmp_path):
    policy = tmp_path / "permissions.yaml"
    policy.write_text('roles: {unauthenticated_single_user: {scopes: ["read:*"]}}')
    client = await sanic_client(app_of(make_config(policy={"permissions": str(policy)})))
    watcher = (await connected(client, 1))[0]
    other = await Watcher.connect(client.port, "/api/status/ws", HEADERS)
    await until_so(lambda: len(client.app.ctx.subscriptions) == 2)
    policy.write_text('roles: {unauthenticated_single_user: {scopes: ["read:status", "read:monitor"]}}')
    assert await watcher.closed() == 4403
    assert "status" in await other.recv()


async def test_an_event_stream_has_the_form_of_the_standard(client):
    events = await Events.connect(client.port, "/api/stream_console_output", {**HEADERS, "Accept": "text/event-stream"})
    await until_so(lambda: client.app.ctx.services.live.console.subscriber_count == 1)
    publish(client, 3)
    received = [await events.next() for _ in range(3)]
    assert numbers_of([event["data"] for event in received]) == [0, 1, 2]
    assert events.retry_ms == 2000
    await events.leave()


def test_ticks_compressed_apart_are_one_gzip_stream_from_wherever_one_begins():
    ticks = [f"line {number}\n".encode() * 5 for number in range(20)]
    blocks = [block(tick) for tick in ticks]
    for first in (0, 7, 19):
        reader = zlib.decompressobj(31)
        assert reader.decompress(HEADER + b"".join(blocks[first:])) == b"".join(ticks[first:])
    assert block(b"") == b""


@pytest.mark.parametrize(("header", "accepted"), [
    ("", False), ("gzip", True), ("br, GZIP;q=0.5", True), ("gzip;q=0", False), ("deflate, gzip; q=0.0", False),
    ("gzipped", False),
])  # fmt: skip
def test_gzip_is_used_where_it_is_accepted(header, accepted):
    assert accepts_gzip(header) is accepted


def test_who_asked_before_the_first_message_does_not_miss_it():
    console = Console(ConsoleConfig())
    before = console.uid
    console.hear("QS_Console", b'{"time": 1.0, "msg": "first\\n"}')
    assert len(console.messages_after(before)) == 1
    assert console.messages_after(console.uid) == console.messages_after("nonsense") == []


@pytest.mark.slow
async def test_nothing_of_a_watcher_is_left_after_it_went(client):
    channel = client.app.ctx.services.live.console
    before = leftovers()
    await connected(client, 20)
    await until_so(lambda: channel.subscriber_count == 20)
    publish(client, 100)
    await all_leave()
    await until_so(lambda: channel.subscriber_count == 0 and not len(client.app.ctx.subscriptions))
    await until_so(lambda: leftovers() <= before, 30)  # Sanic keeps a connection for 10 s after its end.


def leftovers():
    """How many websockets, watchers and subscribers there are."""
    gc.collect()
    return sum(isinstance(one, (Subscriber, Subscription, WebsocketImplProtocol)) for one in gc.get_objects())


async def test_open_websockets_are_limited_and_places_come_free(sanic_client, make_config, tmp_path):
    rules = tmp_path / "rate_limits.yaml"
    rules.write_text("concurrency: [{name: few, of: streams, most: 1}]")
    client = await sanic_client(app_of(make_config(policy={"rate_limits": str(rules)})))
    first, second = await connected(client, 2)
    assert await second.closed() == 4429
    await first.leave()
    await until_so(lambda: len(client.app.ctx.subscriptions) == 0)
    third = (await connected(client, 1))[0]
    await until_so(lambda: len(client.app.ctx.subscriptions) == 1)
    await third.leave()
