"""`qsctl top` on a terminal of 80 columns."""

import os
import pty
import select
import struct
import subprocess
import time
from fcntl import ioctl
from termios import TIOCSWINSZ

import pyte
from conftest import KEY
from qsctl import program, run


class Terminal:
    """A program on a terminal of 80 columns and 24 lines, and what it shows."""

    def __init__(self, command, environment):
        self.screen = pyte.Screen(80, 24)
        self._stream = pyte.ByteStream(self.screen)
        self.outside, inside = pty.openpty()
        ioctl(inside, TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.process = subprocess.Popen(command, env=environment, stdin=inside, stdout=inside, stderr=inside)
        os.close(inside)

    def until(self, text):
        """Wait until the screen shows a text."""
        until = time.monotonic() + 30
        while text not in "\n".join(self.screen.display):
            assert time.monotonic() < until, self.screen.display
            assert self.process.poll() is None, self.screen.display
            if select.select([self.outside], [], [], 0.5)[0]:
                self._stream.feed(os.read(self.outside, 65536))

    def press(self, key):
        os.write(self.outside, key)


def test_the_screen_shows_the_queue_live_and_keys_do_what_one_may_do(served, tmp_path):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("COLUMNS", "LINES"))}
    environment = {
        **clean,
        "TERM": "xterm",
        "XDG_STATE_HOME": str(tmp_path),
        "QSERVER_HTTP_SERVER_URI": served.url,
        "QSERVER_API_KEY": KEY,
    }
    served.client.post("/api/queue/clear", headers=served.key)
    terminal = Terminal(program("top"), environment)
    try:
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
        assert terminal.process.wait(20) == 0
    finally:
        terminal.process.kill()
        terminal.process.wait()
        os.close(terminal.outside)


def test_without_a_terminal_top_says_what_to_do_instead(served, tmp_path):
    ran = run(tmp_path, "top", "--server", served.url)
    assert ran.code == 2
    assert "events --json" in ran.err
