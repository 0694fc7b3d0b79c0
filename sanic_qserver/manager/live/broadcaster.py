"""Fan-out: each message is encoded once, for however many subscribers, and none of them can hold up another.

The rules:
1. Messages are collected for a tick (20 ms; at once after a pause). A tick is encoded once for all subscribers of the
   same topics and framing, and costs one write for each.
2. A subscriber that is behind is tried again every tick until it has caught up (see `subscriber`).
3. A subscriber to which nothing can be written any more is cut off, and no other one notices.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from sanic_qserver.config.settings import LiveConfig
from sanic_qserver.manager.live.subscriber import Message, Subscriber, Tick

log = logging.getLogger("sanic_qserver.manager")

_TICK_MESSAGES = 256  # Larger ticks are cut, so that a slow subscriber loses no more than it must.


class Broadcaster:
    """Sends messages to subscribers, and hands them to listeners within the server."""

    def __init__(
        self, config: LiveConfig, prepare: Callable[[list[Message]], list[Message]] = lambda messages: messages
    ) -> None:
        self.config = config
        self._prepare = prepare
        self._subscribers: dict[Subscriber, None] = {}
        self._listeners: list[Callable[[Sequence[Message]], None]] = []
        self._lagging: dict[Subscriber, None] = {}
        self._collected: list[Message] = []
        self._timer: asyncio.TimerHandle | None = None
        self._catching_up: asyncio.TimerHandle | None = None
        self._next_at = 0.0

    @property
    def subscriber_count(self) -> int:
        """How many subscribers there are."""
        return len(self._subscribers)

    @property
    def lagging_count(self) -> int:
        """How many subscribers are behind."""
        return len(self._lagging)

    def join(self, subscriber: Subscriber) -> None:
        """Hand every later message to this subscriber as well."""
        self.flush()  # What came before is not for it.
        self._subscribers[subscriber] = None

    def leave(self, subscriber: Subscriber) -> None:
        """Forget the subscriber."""
        self._subscribers.pop(subscriber, None)
        self._lagging.pop(subscriber, None)

    def listen(self, listener: Callable[[Sequence[Message]], None]) -> Callable[[], None]:
        """Call `listener` with the messages of each tick. Returns the function that ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def publish(self, messages: Iterable[Message]) -> None:
        """Send these to everybody, with the next tick."""
        if not self._subscribers and not self._listeners:
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
        """Send at once what was published."""
        if not self._collected:
            return
        messages, self._collected = self._prepare(self._collected), []
        for start in range(0, len(messages), _TICK_MESSAGES):
            self._send(Tick(messages[start : start + _TICK_MESSAGES]))

    def _send(self, tick: Tick) -> None:
        for subscriber in tuple(self._subscribers):
            try:
                is_up_to_date = subscriber.offer(tick)
            except Exception as error:  # An edge: whatever a connection raises concerns this subscriber only.
                self._cut_off(subscriber, error)
                continue
            if not is_up_to_date:
                self.lags(subscriber)
        for listener in tuple(self._listeners):
            listener(tick.messages)

    def _cut_off(self, subscriber: Subscriber, error: Exception) -> None:
        # Ordinary for a connection that is closing: "Cannot call write() after write_eof()".
        log.debug("A subscriber is cut off, for nothing can be written to it: %s", error)
        self.leave(subscriber)
        subscriber.cut_off()

    def lags(self, subscriber: Subscriber) -> None:
        """Try this subscriber again and again until it has caught up."""
        self._lagging[subscriber] = None
        if self._catching_up is None:
            self._catching_up = asyncio.get_running_loop().call_later(self.config.tick_s, self._catch_up)

    def _catch_up(self) -> None:
        self._catching_up = None
        for subscriber in tuple(self._lagging):
            try:
                if subscriber.catch_up():
                    self._lagging.pop(subscriber, None)
            except Exception as error:  # An edge, as above.
                self._cut_off(subscriber, error)
        if self._lagging:
            self._catching_up = asyncio.get_running_loop().call_later(self.config.tick_s, self._catch_up)
