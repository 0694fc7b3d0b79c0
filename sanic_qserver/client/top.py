"""`qsctl top`: a live screen, with keys for what one may do. Plain text and a few escape sequences: works over ssh."""

import os
import queue
import select
import shutil
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from sanic_qserver.client.events import follow
from sanic_qserver.client.failures import Failure, WrongUsage
from sanic_qserver.client.runtime import Runtime, get_runtime
from sanic_qserver.client.screen import Screen

_TICK_S = 0.2
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
KEYS: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "s": ("start", "write:queue:control", "/queue/start", {}),
    "x": ("stop queue", "write:queue:control", "/queue/stop", {}),
    "p": ("pause", "write:plan:control", "/re/pause", {"option": "deferred"}),
    "r": ("resume", "write:plan:control", "/re/resume", {}),
    "S": ("stop plan", "write:plan:control", "/re/stop", {}),
    "A": ("abort plan", "write:plan:control", "/re/abort", {}),
}
"""Each key: what it does, the scope for it, the call. Capitals end a paused plan."""


def top(context: typer.Context) -> None:
    """Show everything live, and control it from the keyboard.

    Queue, running plan, console and status. The keys do what you may do; q ends it.
    """
    run = get_runtime(context)
    if not run.out.is_terminal or not sys.stdin.isatty():
        raise WrongUsage("top needs a terminal", "For programs: qsctl events --json.")
    scopes = set(run.session.get("/auth/scopes")["scopes"])
    allowed = {key: of for key, of in KEYS.items() if of[1] in scopes}
    help_line = "  ".join(["q quit", *(f"{key} {of[0]}" for key, of in allowed.items())])
    screen = Screen(run.session.profile.server)
    heard: queue.Queue[Any] = queue.Queue()
    topics = [topic for topic in ("status", "queue", "console") if f"read:{topic}" in scopes]
    threading.Thread(target=_listen, args=(run, topics, heard), daemon=True).start()
    with _full_screen():
        while True:
            _take_all(screen, heard)
            size = shutil.get_terminal_size()
            lines = screen.draw(size.columns, size.lines, help_line)
            _write("\x1b[H" + "\r\n".join(f"{line}\x1b[K" for line in lines))
            key = _read_key()
            if key in {"q", "\x03", "\x04"}:
                return
            if key in allowed:
                screen.message = _do(run, *allowed[key])


def _take_all(screen: Screen, heard: "queue.Queue[Any]") -> None:
    while True:
        try:
            event = heard.get_nowait()
        except queue.Empty:
            return
        if isinstance(event, Failure):
            raise event
        screen.take(event)


def _do(run: Runtime, name: str, _: str, path: str, body: dict[str, Any]) -> str:
    """What came of a key."""
    try:
        run.change(path, body)
    except Failure as failure:
        return f"{name}: {failure.text}"
    return f"{name}: done"


def _listen(run: Runtime, topics: list[str], heard: "queue.Queue[Any]") -> None:
    """In a thread: events, and the failure that ended them. It has a session of its own."""
    try:
        for event in follow(run.open(run.session.profile), topics):
            heard.put(event)
    except Failure as failure:
        heard.put(failure)


@contextmanager
def _full_screen() -> Iterator[None]:
    """Keys come at once, and the terminal is afterwards as it was."""
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        _write(_ENTER + "\x1b[2J")
        yield
    finally:
        _write(_LEAVE)
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _read_key() -> str:
    """A key that was pressed, or empty after a short while."""
    until = time.monotonic() + _TICK_S
    ready, _, _ = select.select([sys.stdin], [], [], max(0.0, until - time.monotonic()))
    return os.read(sys.stdin.fileno(), 1).decode("ascii", "replace") if ready else ""


COMMANDS = (top,)
