"""What people see who sit at a terminal: passwords, questions, progress, and ctrl-C."""

import json

import pytest
from conftest import KEY
from logins import PASSWORDS, settings
from qsctl import program, run
from servers import Served, app_of
from terminal import Terminal

from sanic_qserver.client.failures import INTERRUPTED

ITEM = {"item_type": "plan", "name": "count", "args": [["det1"]]}


@pytest.fixture
def environment(served, tmp_path):
    served.client.post("/api/queue/clear", headers=served.key)
    yield {"XDG_STATE_HOME": str(tmp_path), "QSERVER_HTTP_SERVER_URI": served.url, "QSERVER_API_KEY": KEY}
    served.client.post("/api/queue/clear", headers=served.key)


def count_queued(served):
    return served.client.get("/api/status", headers=served.key).json()["items_in_queue"]


def test_name_and_password_are_asked_for_and_the_password_is_not_shown(make_config, tmp_path):
    staff = Served(app_of(make_config(**settings(tmp_path))))
    environment = {"XDG_STATE_HOME": str(tmp_path)}
    try:
        with Terminal(program("login", staff.url), environment) as terminal:
            terminal.until("Username")
            terminal.press(b"bob\n")
            terminal.until("Password of bob:")
            terminal.press(PASSWORDS["bob"].encode() + b"\n")
            assert terminal.wait() == 0, terminal.text
            assert f"Logged in at {staff.url}" in terminal.text
            assert PASSWORDS["bob"] not in terminal.text
        assert "bob" in run(tmp_path, "whoami").out
        with Terminal(program("login", staff.url, "--profile", "other"), environment) as terminal:
            terminal.until("Username")
            terminal.press(b"\x03")
            assert terminal.wait() == INTERRUPTED
            assert "Traceback" not in terminal.text
        assert "other" not in run(tmp_path, "profile", "list").out
    finally:
        staff.close()


@pytest.mark.parametrize("words", [("wait", "items_in_queue=12345"), ("console", "--follow"), ("history", "--follow")])
def test_ctrl_c_ends_what_waits_or_follows(environment, served, words):
    watchers, topic = served.app.ctx.services.live.state._watchers, words[0]
    sent = served.sent
    with Terminal(program(*words), environment) as terminal:
        terminal.until_so(lambda: served.sent > sent if topic == "wait" else watchers[topic] > 0)
        terminal.press(b"\x03")
        assert terminal.wait() == INTERRUPTED
        assert "qsctl: interrupted" in terminal.text
        assert "Traceback" not in terminal.text


def test_a_file_shows_its_progress_and_goes_on_after_ctrl_c(environment, served, tmp_path):
    count = 2000
    file = tmp_path / "items.ndjson"
    file.write_text(f"{json.dumps(ITEM)}\n" * count)
    with Terminal(program("add", "--file", file), environment) as terminal:
        terminal.until(f"/{count}")
        terminal.until_so(lambda: count_queued(served))
        terminal.press(b"\x03")
        assert terminal.wait() == INTERRUPTED, terminal.text
        assert "Run the same command again to go on" in " ".join(terminal.text.split())
        assert "Traceback" not in terminal.text
    assert count_queued(served) < count
    with Terminal(program("add", "--file", file), environment) as terminal:
        assert terminal.wait() == 0, terminal.text
        assert f"{count}/{count}" in terminal.text
        assert f"{count} added, 0 refused" in terminal.text
    reply = served.client.get("/api/queue/get", headers=served.key).json()
    assert sorted(item["meta"]["qsctl"]["line"] for item in reply["items"]) == list(range(count))
