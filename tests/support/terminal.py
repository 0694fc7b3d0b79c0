"""A program on a terminal of 80 columns, and what it shows."""

import os
import pty
import select
import struct
import subprocess
import time
from fcntl import ioctl
from termios import TIOCSWINSZ

import pyte


class Terminal:
    """The terminal is the program's own: ctrl-C ends it, and it may ask for passwords. A context manager."""

    def __init__(self, command, environment):
        self.screen = pyte.Screen(80, 24)
        self._stream = pyte.ByteStream(self.screen)
        self.outside, inside = pty.openpty()
        ioctl(inside, TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("COLUMNS", "LINES"))}
        env = {**clean, "TERM": "xterm", "QSCTL_KEYRING": "0", **environment}
        owning = ["setsid", "--ctty", *command]
        self.process = subprocess.Popen(owning, env=env, stdin=inside, stdout=inside, stderr=inside)
        os.close(inside)

    @property
    def text(self):
        """What stands there now."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    def until(self, text):
        """Wait until the screen shows a text."""
        self.until_so(lambda: text in self.text)

    def until_so(self, is_so):
        """Wait until something is so; what the program shows is read meanwhile."""
        until = time.monotonic() + 30
        while not is_so():
            assert time.monotonic() < until, self.text
            assert self._read() or self.process.poll() is None, self.text

    def _read(self):
        """Whether there was something to read."""
        if not select.select([self.outside], [], [], 0.2)[0]:
            return False
        try:
            data = os.read(self.outside, 65536)
        except OSError:  # It has ended.
            return False
        self._stream.feed(data)
        return bool(data)

    def press(self, keys):
        """Type these bytes."""
        os.write(self.outside, keys)

    def wait(self):
        """The exit code, and all that was shown until then."""
        until = time.monotonic() + 60
        while self.process.poll() is None:
            assert time.monotonic() < until, self.text
            self._read()
        while self._read():
            pass
        return self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.outside)
