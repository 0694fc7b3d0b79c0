"""All live data: the broadcasters that clients subscribe to, and what feeds them. One per application."""

from collections.abc import Callable
from itertools import groupby

import msgspec

from sanic_qserver.config.settings import LiveConfig
from sanic_qserver.manager.console.output import decode_message
from sanic_qserver.manager.live.broadcaster import Broadcaster
from sanic_qserver.manager.live.conditions import Waits
from sanic_qserver.manager.live.event_log import EventLog
from sanic_qserver.manager.live.state import StateTracker
from sanic_qserver.manager.live.status_feed import StatusFeed
from sanic_qserver.manager.live.subscriber import Message
from sanic_qserver.manager.publications import CONSOLE, Publications
from sanic_qserver.manager.read_cache import ReadCache

_LINE_END = b'\\n"}'


class Live:
    """The console (topic `console`), the status feed, and the events made of changes."""

    def __init__(self, config: LiveConfig, publications: Publications, reads: ReadCache) -> None:
        self.config = config
        self.console = Broadcaster(config, prepare=join_lines)
        self.status = StatusFeed(config, publications, lambda: reads.coalesce("status"))
        self.events = EventLog(config)
        self.state = StateTracker(config, self.events, self.status, reads, self.console)
        self.waits = Waits(self.status, self.state)
        self._publications = publications
        self._end: Callable[[], None] = lambda: None

    def open(self) -> None:
        """Follow the publications."""
        self._end = self._publications.listen(self._hear)

    def close(self) -> None:
        """Stop following."""
        self._end()
        self._end = lambda: None
        self.state.close()
        self.status.close()

    def _hear(self, topic: str, payload: bytes) -> None:
        if topic == CONSOLE:
            self.console.publish((Message("console", payload),))


def join_lines(messages: list[Message]) -> list[Message]:
    """Join the pieces of each line, as far as they came together.

    RE Manager publishes once for each write to the terminal: `print("a", 1)` makes four messages.
    """
    if all(message.body.endswith(_LINE_END) for message in messages):
        return messages
    line_number = 0
    numbers = []
    for message in messages:
        numbers.append(line_number)
        line_number += message.body.endswith(_LINE_END)
    pairs = zip(numbers, messages, strict=True)
    return [_join([message for _, message in line]) for _, line in groupby(pairs, key=lambda pair: pair[0])]


def _join(pieces: list[Message]) -> Message:
    if len(pieces) == 1:
        return pieces[0]
    try:
        decoded = [decode_message(piece.body) for piece in pieces]
    except msgspec.MsgspecError:
        return pieces[0]
    body = msgspec.json.encode({"time": decoded[0].time, "msg": "".join(piece.msg for piece in decoded)})
    return Message(pieces[0].topic, body)
