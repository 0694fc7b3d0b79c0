"""Fan-out: each message is encoded once, for however many watchers, and none of them can hold up another.

The rules:
1. Messages are collected for a tick (20 ms; at once after a pause). A tick is framed and joined once for all watchers
   of the same topics and framing, and costs one write a watcher.
2. A watcher whose network takes nothing gets nothing written: its ticks, shared by all, wait in a bounded line.
   When that is full, the oldest go, and before the next message a marker tells how many went.
3. A watcher that takes nothing at all for `stall_s` is cut off.
4. A watcher to whom nothing can be written any more is cut off, and nobody else notices.
"""

import asyncio
import contextlib
import logging
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sanic_qserver.config.settings import LiveConfig
from sanic_qserver.scopes import Scope

log = logging.getLogger("sanic_qserver.manager")

_TICK_MESSAGES = 256  # Larger ticks are cut, so that a slow watcher loses no more than it must.
_MAX_PENDING = 65_536  # Bytes that the network has not taken yet; with more, nothing is written.
_KERNEL_BUFFER = 131_072  # Bytes, which Linux doubles for its own use.


class Message(NamedTuple):
    """One message: a JSON object, with the id to resume from where there is one."""

    topic: str
    body: bytes
    id: str = ""


@dataclass(frozen=True, eq=False)
class Framing:
    """How messages go over the wire: `frame` one by one, then `wrap` what was joined."""

    frame: Callable[[Message], bytes]
    wrap: Callable[[bytes], bytes] = lambda joined: joined


class Tick:
    """Messages that go out together, and their forms on the wire, each made once."""

    __slots__ = ("_counts", "_joined", "messages")

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = messages
        self._joined: dict[tuple[frozenset[str], Framing], bytes] = {}
        self._counts: dict[frozenset[str], int] = {}

    def joined(self, topics: frozenset[str], framing: Framing) -> bytes:
        """What is written to a watcher of these topics; empty when there is nothing for it."""
        known = self._joined.get((topics, framing))
        if known is None:
            joined = b"".join([framing.frame(message) for message in self.messages if message.topic in topics])
            known = self._joined[topics, framing] = framing.wrap(joined) if joined else b""
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


class Outlet:
    """One watcher's way out. It collects from the moment it is made, and writes once it is attached to a connection."""

    def __init__(self, channel: "Channel", topics: frozenset[str], marker: Marker | None, max_behind: int) -> None:
        self.topics = topics
        self.scopes: frozenset[Scope] = frozenset()  # that the watcher must keep, beside the row's
        self.dropped_count = 0
        self._channel = channel
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
        channel.join(self)

    def on_close(self, call: Callable[[], None]) -> None:
        """Call this when the watcher has left."""
        self._on_close.append(call)

    def attach(self, transport: asyncio.WriteTransport, framing: Framing) -> None:
        """Write to this connection from now on, beginning with what was collected."""
        self._transport, self._framing = transport, framing
        _bound_kernel_buffer(transport)
        self._progress_at = time.monotonic()
        if not self.catch_up():
            self._channel.lags(self)

    def close(self) -> None:
        """The watcher has left. May be called twice."""
        self._channel.leave(self)
        self._behind.clear()
        self._first = self._transport = None
        while self._on_close:
            self._on_close.pop()()

    def add_topics(self, topics: frozenset[str], messages: Sequence[Message]) -> bool:
        """Watch these topics as well, beginning with these messages of its own. False when it is behind: try later."""
        if not self._is_free():
            return False
        self._channel.flush()  # What came before is not for it.
        if not self._is_free():
            return False
        self.topics |= topics
        self._write(Tick(messages))
        return True

    def collect(self, messages: Sequence[Message]) -> None:
        """Messages of its own that come first. Before it is attached. They are not dropped."""
        self._first = Tick(messages)

    def offer(self, tick: Tick) -> bool:
        """Write the tick, or put it in line. False when the watcher is behind."""
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
        """End the connection. The watcher's own task notices, and closes the outlet."""
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
        """Write what is in line, as far as the network takes it. False when there is more."""
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
        if data := tick.joined(self.topics, self._framing):
            self._transport.write(data)
            self._last_id = tick.last_id(self.topics) or self._last_id
            self._progress_at = 0.0

    def _write_marker(self) -> None:
        if self._unmarked and self._marker is not None:
            tick = Tick([self._marker(self._unmarked, self._last_id)])
            assert self._transport is not None  # noqa: S101
            assert self._framing is not None  # noqa: S101
            self._transport.write(tick.joined(frozenset({tick.messages[0].topic}), self._framing))
        self._unmarked = 0

    def _cut_off_when_stalled(self) -> None:
        assert self._transport is not None  # noqa: S101
        now, pending = time.monotonic(), self._transport.get_write_buffer_size()
        if self._progress_at == 0.0 or pending < self._pending:
            self._progress_at = now
        self._pending = pending
        if now - self._progress_at > self._channel.config.stall_s:
            self.cut_off()


def _bound_kernel_buffer(transport: asyncio.WriteTransport) -> None:
    """Keep the kernel from taking megabytes for each watcher that does not read: that slows all connections down."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):  # It may be gone already.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BUFFER)


class Channel:
    """Hands messages to outlets, and to listeners within the server."""

    def __init__(
        self, config: LiveConfig, prepare: Callable[[list[Message]], list[Message]] = lambda messages: messages
    ) -> None:
        self.config = config
        self._prepare = prepare
        self._outlets: dict[Outlet, None] = {}
        self._listeners: list[Callable[[Sequence[Message]], None]] = []
        self._lagging: dict[Outlet, None] = {}
        self._collected: list[Message] = []
        self._timer: asyncio.TimerHandle | None = None
        self._catching_up: asyncio.TimerHandle | None = None
        self._next_at = 0.0

    @property
    def watcher_count(self) -> int:
        """How many outlets there are."""
        return len(self._outlets)

    @property
    def lagging_count(self) -> int:
        """How many outlets are behind."""
        return len(self._lagging)

    def join(self, outlet: Outlet) -> None:
        """Hand every later message to this outlet as well."""
        self.flush()  # What came before is not for it.
        self._outlets[outlet] = None

    def leave(self, outlet: Outlet) -> None:
        """Forget the outlet."""
        self._outlets.pop(outlet, None)
        self._lagging.pop(outlet, None)

    def listen(self, listener: Callable[[Sequence[Message]], None]) -> Callable[[], None]:
        """Call `listener` with the messages of each tick. Returns the function that ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def publish(self, messages: Iterable[Message]) -> None:
        """Hand these to everybody, with the next tick."""
        if not self._outlets and not self._listeners:
            return
        self._collected.extend(messages)
        if self._collected and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, self._next_at - loop.time()), self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.flush()
        self._next_at = asyncio.get_running_loop().time() + self.config.tick_s

    def flush(self) -> None:
        """Hand on at once what was published."""
        if not self._collected:
            return
        messages, self._collected = self._prepare(self._collected), []
        for start in range(0, len(messages), _TICK_MESSAGES):
            self._send(Tick(messages[start : start + _TICK_MESSAGES]))

    def _send(self, tick: Tick) -> None:
        for outlet in tuple(self._outlets):
            if not self._apart(outlet, lambda one: one.offer(tick)):
                self.lags(outlet)
        for listener in tuple(self._listeners):
            listener(tick.messages)

    def _apart(self, outlet: Outlet, write: Callable[[Outlet], bool]) -> bool:
        """What `write` returns. When it fails the watcher is cut off: its failure must not reach the next one."""
        try:
            return write(outlet)
        except Exception as error:  # An edge: whatever a connection raises concerns this watcher only.
            # Ordinary for one that is closing: "Cannot call write() after write_eof()".
            log.debug("A watcher is cut off, for nothing can be written to it: %s", error)
            self.leave(outlet)
            outlet.cut_off()
            return True

    def lags(self, outlet: Outlet) -> None:
        """Try this outlet again and again until it has caught up."""
        self._lagging[outlet] = None
        if self._catching_up is None:
            self._catching_up = asyncio.get_running_loop().call_later(self.config.tick_s, self._catch_up)

    def _catch_up(self) -> None:
        self._catching_up = None
        for outlet in tuple(self._lagging):
            if self._apart(outlet, Outlet.catch_up):
                self._lagging.pop(outlet, None)
        if self._lagging:
            self._catching_up = asyncio.get_running_loop().call_later(self.config.tick_s, self._catch_up)
