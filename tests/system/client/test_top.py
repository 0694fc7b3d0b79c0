"""`qsctl top` on a terminal of 80 columns."""

from conftest import KEY
from policy_people import let_people_in
from qsctl import program, run
from servers import Served, app_of
from terminal import Terminal


def test_the_screen_shows_the_queue_live_and_keys_do_what_one_may_do(served, tmp_path):
    environment = {"XDG_STATE_HOME": str(tmp_path), "QSERVER_HTTP_SERVER_URI": served.url, "QSERVER_API_KEY": KEY}
    served.client.post("/api/queue/clear", headers=served.key)
    with Terminal(program("top"), environment) as terminal:
        terminal.until("idle")
        terminal.until("queue: 0 items")
        item = {"item_type": "plan", "name": "count", "args": [["det1", "det2"]], "kwargs": {"num": 7}}
        reply = served.client.post("/api/queue/item/add", json={"item": item}, headers=served.key).json()
        terminal.until("num=7")
        terminal.until("queue: 1 items")
        terminal.press(b"r")  # Nothing is paused: RE Manager's words are shown.
        terminal.until("resume: RE Manager is not paused")
        served.client.post("/api/queue/item/remove", json={"uid": reply["item"]["item_uid"]}, headers=served.key)
        terminal.until("queue: 0 items")
        terminal.press(b"q")
        assert terminal.wait() == 0


def test_who_may_only_look_is_offered_no_keys(make_config, tmp_path):
    (tmp_path / "permissions.yaml").write_text("users: {olga: {roles: observer}}\n")
    served = Served(app_of(make_config(policy={"permissions": str(tmp_path / "permissions.yaml")})))
    let_people_in(served.app)
    key = {"QSERVER_HTTP_SERVER_URI": served.url, "QSERVER_API_KEY": "person:olga"}
    try:
        with Terminal(program("top"), {"XDG_STATE_HOME": str(tmp_path), **key}) as terminal:
            terminal.until("queue: ")
            assert terminal.screen.display[-1].strip() == "q quit"
            terminal.press(b"sxprSA")  # Nothing hears them.
            terminal.press(b"q")
            assert terminal.wait() == 0
            assert "done" not in terminal.text
    finally:
        served.close()


def test_without_a_terminal_top_says_what_to_do_instead(served, tmp_path):
    ran = run(tmp_path, "top", "--server", served.url)
    assert ran.code == 2
    assert "events --json" in ran.err
