"""A subscriber: one connection that receives messages, and the bounded send buffer in front of it.

The rules:
1. While the network takes nothing, nothing is written: ticks, which all subscribers share, wait in the send buffer.
   When it is full the oldest are dropped, and before the next message a marker tells how many.
2. A subscriber that takes nothing at all for `stall_s` is cut off.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from sanic_qserver.config.settings import LiveConfig
from sanic_qserver.scopes import Scope

_MAX_PENDING = 65_536  # Bytes that the network has not taken yet; with more, nothing is written.


class Message(NamedTuple):
    """One message: a JSON object, with the id to resume from where there is one."""

    topic: str
    body: bytes
    id: str = ""


@dataclass(frozen=True, eq=False)
class Framing:
    """How messages are written to a connection: `frame` makes the form of one, `wrap` that of several together."""

    frame: Callable[[Message], bytes]
    wrap: Callable[[bytes], bytes] = lambda frames: frames


class Tick:
    """Messages that are sent together. Each form of them is encoded once, for all who share it."""

    __slots__ = ("_counts", "_encoded", "messages")

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = messages
        self._encoded: dict[tuple[frozenset[str], Framing], bytes] = {}
        self._counts: dict[frozenset[str], int] = {}

    def encode(self, topics: frozenset[str], framing: Framing) -> bytes:
        """The bytes for a subscriber of these topics; empty when there is nothing for it."""
        known = self._encoded.get((topics, framing))
        if known is None:
            frames = b"".join([framing.frame(message) for message in self.messages if message.topic in topics])
            known = self._encoded[topics, framing] = framing.wrap(frames) if frames else b""
        return known

    def count(self, topics: frozenset[str]) -> int:
        """How many of the messages are of these topics."""
        known = self._counts.get(topics)
        if known is None:
            known = self._counts[topics] = sum(message.topic in topics for message in self.messages)
        return known

    def last_id(self, topics: frozenset[str]) -> str:
        """The id of the last message of these topics."""
        ids = (message.id for message in reversed(self.messages) if message.topic in topics and message.id)
        return next(ids, "")


Marker = Callable[[int, str], Message]
"""Makes the message that tells how many were dropped, and after which id."""


class Publisher(Protocol):
    """What a subscriber needs of the broadcaster that it subscribes to."""

    config: LiveConfig

    def join(self, subscriber: "Subscriber", /) -> None:
        """Hand every later message to this subscriber as well."""
        ...

    def leave(self, subscriber: "Subscriber", /) -> None:
        """Forget the subscriber."""
        ...

    def lags(self, subscriber: "Subscriber", /) -> None:
        """Try this subscriber again and again until it has caught up."""
        ...

    def flush(self) -> None:
        """Send at once what was published."""
        ...


class Subscriber:
    """One connection that receives messages, and its send buffer.

    It buffers from the moment it is made, and writes once it is attached to a connection.
    """

    def __init__(self, publisher: Publisher, topics: frozenset[str], marker: Marker | None, max_behind: int) -> None:
        self.topics = topics
        self.scopes: frozenset[Scope] = frozenset()  # that the caller must keep, beside the row's
        self.dropped_count = 0
        self._publisher = publisher
        self._marker = marker
        self._max_behind = max_behind
        self._first: Tick | None = None
        self._behind: deque[Tick] = deque()
        self._behind_count = 0
        self._unmarked = 0
        self._last_id = ""
        self._transport: asyncio.WriteTransport | None = None
        self._framing: Framing | None = None
        self._pending = 0
        self._progress_at = time.monotonic()
        self._on_close: list[Callable[[], None]] = []
        publisher.join(self)

    def on_close(self, call: Callable[[], None]) -> None:
        """Call this when the subscriber has left."""
        self._on_close.append(call)

    def attach(self, transport: asyncio.WriteTransport, framing: Framing) -> None:
        """Write to this connection from now on, beginning with what was buffered."""
        self._transport, self._framing = transport, framing
        self._progress_at = time.monotonic()
        if not self.catch_up():
            self._publisher.lags(self)

    def close(self) -> None:
        """Unsubscribe: the client has left. May be called twice."""
        self._publisher.leave(self)
        self._behind.clear()
        self._first = self._transport = None
        while self._on_close:
            self._on_close.pop()()

    def add_topics(self, topics: frozenset[str], messages: Sequence[Message]) -> bool:
        """Subscribe to these topics as well, beginning with these messages. False when it is behind: try later."""
        if not self._is_free():
            return False
        self._publisher.flush()  # What came before is not for it.
        if not self._is_free():
            return False
        self.topics |= topics
        self._write(Tick(messages))
        return True

    def begin_with(self, messages: Sequence[Message]) -> None:
        """Put these messages first, before it is attached. They are never dropped."""
        self._first = Tick(messages)

    def offer(self, tick: Tick) -> bool:
        """Write the tick, or buffer it. False when the subscriber is behind."""
        if self._is_free():
            self._write(tick)
            return True
        count = tick.count(self.topics)
        if count:
            self._behind.append(tick)
            self._behind_count += count
            self._drop_oldest()
        return self._is_up_to_date()

    def cut_off(self) -> None:
        """End the connection. The task that serves it notices, and closes the subscriber."""
        if self._transport is not None:
            self._transport.abort()

    def _is_free(self) -> bool:
        """Whether what is written now goes out next."""
        return self._transport is not None and self._is_up_to_date() and self._can_write()

    def _is_up_to_date(self) -> bool:
        return not self._behind and self._first is None

    def _drop_oldest(self) -> None:
        while self._behind_count > self._max_behind and len(self._behind) > 1:
            count = self._behind.popleft().count(self.topics)
            self._behind_count -= count
            self._unmarked += count
            self.dropped_count += count

    def catch_up(self) -> bool:
        """Write what is buffered, as far as the network takes it. False when there is more."""
        if self._first is not None and self._transport is not None and self._can_write():
            first, self._first = self._first, None
            self._write(first)
        while self._behind and self._transport is not None and self._can_write():
            self._write_marker()
            tick = self._behind.popleft()
            self._behind_count -= tick.count(self.topics)
            self._write(tick)
        if self._transport is not None and not self._is_up_to_date():
            self._cut_off_when_stalled()
        return self._is_up_to_date()

    def _can_write(self) -> bool:
        assert self._transport is not None  # noqa: S101  # asked by those who know
        return self._transport.get_write_buffer_size() <= _MAX_PENDING and not self._transport.is_closing()

    def _write(self, tick: Tick) -> None:
        assert self._transport is not None  # noqa: S101
        assert self._framing is not None  # noqa: S101
        if data := tick.encode(self.topics, self._framing):
            self._transport.write(data)
            self._last_id = tick.last_id(self.topics) or self._last_id
            self._progress_at = 0.0

    def _write_marker(self) -> None:
        if self._unmarked and self._marker is not None:
            tick = Tick([self._marker(self._unmarked, self._last_id)])
            assert self._transport is not None  # noqa: S101
            assert self._framing is not None  # noqa: S101
            self._transport.write(tick.encode(frozenset({tick.messages[0].topic}), self._framing))
        self._unmarked = 0

    def _cut_off_when_stalled(self) -> None:
        assert self._transport is not None  # noqa: S101
        now, pending = time.monotonic(), self._transport.get_write_buffer_size()
        if self._progress_at == 0.0 or pending < self._pending:
            self._progress_at = now
        self._pending = pending
        if now - self._progress_at > self._publisher.config.stall_s:
            self.cut_off()
