"""The console: text as a terminal shows it, messages by uid, and the stream."""

import asyncio
import json

import httpx
import pyte
import pytest
from hypothesis import given, settings, strategies as st

from sanic_qserver.config.settings import ConsoleConfig
from sanic_qserver.manager.console.output import Console
from sanic_qserver.manager.console.terminal import Terminal
from sanic_qserver.manager.publications import CONSOLE, INFO

PIECES = st.sampled_from(
    ["a", "bc", "hello ", "\n", "\r", "\r\n", "\b", "\x1b[A", "\x1b[2A", "\x1b[B", "\x1b[C", "\x1b[3D", "\x1b[K",
     "\x1b[1K", "\x1b[2K", "\x1b[31m", "\x1b[0m", "\x1b[5G", "\x1b[?25l", "\x07"]
)  # fmt: skip


def as_pyte_shows(text):
    """The oracle: a terminal emulator of others, in the mode in which a line feed also returns the carriage."""
    screen = pyte.Screen(300, 70)
    screen.set_mode(pyte.modes.LNM)
    pyte.Stream(screen).feed(text)
    return "\n".join(line.rstrip() for line in screen.display).rstrip()


def as_we_show(text):
    terminal = Terminal(1000)
    terminal.write(text)
    return "\n".join(line.rstrip() for line in terminal.lines).rstrip()


@settings(max_examples=150, deadline=None)
@given(st.lists(PIECES, max_size=60))
def test_text_is_shown_as_a_terminal_shows_it(pieces):
    # A terminal's cursor may go down to lines that hold nothing yet; ours stays on the last line.
    text = "".join(pieces).replace("\x1b[B", "")
    assert as_we_show(text) == as_pyte_shows(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one\ntwo\n", "one\ntwo"),
        ("10%\r50%\r100%\n", "100%"),
        ("a: 1\nb: 2\n\x1b[2A\x1b[2Ka: 9\n\x1b[2Kb: 8\n", "a: 9\nb: 8"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("x\ty", "x       y"),
        ("\x1b[999999999C!", None),
        ("\x1b]0;title\x07text", "text"),
    ],
)
def test_progress_bars_and_colours_come_out_as_people_see_them(text, shown):
    if shown is None:
        assert len(as_we_show(text)) < 20_000
    else:
        assert as_we_show(text) == shown


def test_only_the_last_lines_are_kept():
    terminal = Terminal(10)
    for number in range(1000):
        terminal.write(f"line {number}\n")
    assert terminal.text(100).splitlines() == [f"line {number}" for number in range(990, 1000)]
    assert terminal.text(2) == "line 998\nline 999"
    assert terminal.text(0) == ""


def message(number):
    return json.dumps({"time": number, "msg": f"{number}\n"}).encode()


def test_two_servers_give_the_same_uids_wherever_they_began():
    early, late = Console(ConsoleConfig()), Console(ConsoleConfig())
    for number in range(20):
        early.hear(CONSOLE, message(number // 3))
        if number >= 10:
            late.hear(CONSOLE, message(number // 3))
    assert early.uid == late.uid


def test_messages_after_a_uid_are_neither_lost_nor_repeated():
    console = Console(ConsoleConfig(max_messages=50))
    uid, seen = console.uid, []
    for number in range(200):
        console.hear(CONSOLE, message(number // 2))
        if number % 7 == 0:
            seen += console.messages_after(uid) if number else console.messages_after("ALL")
            uid = console.uid
    seen += console.messages_after(uid)
    assert seen == [message(number // 2) for number in range(200)]
    assert console.messages_after(uid)
    assert console.messages_after(console.uid) == []
    assert console.messages_after("unknown") == []
    assert len(console.messages_after("ALL")) == 50


def test_other_topics_and_garbage_are_no_console_output():
    console = Console(ConsoleConfig())
    before = console.uid
    console.hear(INFO, message(1))
    console.hear(CONSOLE, b"garbage")
    console.hear(CONSOLE, b'{"time":"x"}')
    assert console.uid == before


async def test_console_output_is_read_by_lines_uid_and_update(client):
    update = (await client.get("/api/console_output_update?last_msg_uid=ALL")).json()
    assert set(update) == {"success", "msg", "console_output_msgs", "last_msg_uid"}
    uid = update["last_msg_uid"]
    await client.post("/api/queue/clear")
    for _ in range(100):
        update = (await client.request("GET", "/api/console_output_update", json={"last_msg_uid": uid})).json()
        if update["console_output_msgs"]:
            break
        await asyncio.sleep(0.05)
    assert all(set(entry) == {"time", "msg"} for entry in update["console_output_msgs"])
    assert (await client.get("/api/console_output/uid")).json()["console_output_uid"]
    text = (await client.get("/api/console_output?nlines=1")).json()["text"]
    assert text.count("\n") == 0
    first = await client.request("GET", "/api/console_output_update", json={"last_msg_uid": ""})
    assert first.json()["console_output_msgs"] == []
    assert (await client.get("/api/console_output_update")).status_code == 400
    assert (await client.get("/api/console_output?nlines=-1")).json()["text"] == ""


def data_of_events(text):
    return [part[6:] for part in text.split("\n\n") if part.startswith("data: ")]


@pytest.mark.parametrize(
    ("accept", "kind", "split"),
    [
        ("*/*", "text/plain", lambda text: text.replace("}{", "}\x00{").split("\x00")),
        ("text/event-stream", "text/event-stream", data_of_events),
        ("application/x-ndjson", "application/x-ndjson", lambda text: text.splitlines()),
    ],
)  # fmt: skip
async def test_the_console_is_streamed_as_the_client_accepts(client, accept, kind, split):
    text = ""
    async with client.stream("GET", "/stream_console_output", headers={"Accept": accept}) as response:
        assert response.headers["content-type"].startswith(kind)
        await client.post("/api/queue/clear")
        async for chunk in response.aiter_text():
            text += chunk
            if "\\n" in text:
                break
    messages = [json.loads(part) for part in split(text) if part.strip()]
    assert messages
    assert all(set(entry) == {"time", "msg"} for entry in messages)


async def test_a_watcher_that_leaves_is_forgotten(client):
    listeners = client.app.ctx.services.publications
    before = len(listeners._listeners)
    for _ in range(3):
        async with client.stream("GET", "/stream_console_output") as response:
            assert response.status_code == 200
    for _ in range(100):
        await client.post("/api/queue/clear")
        if len(listeners._listeners) <= before:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the listeners of watchers that left stay")


async def test_a_stream_asks_for_its_scope(anonymous):
    response = await anonymous.get("/api/stream_console_output")
    assert response.status_code == 401
    assert isinstance(response, httpx.Response)
