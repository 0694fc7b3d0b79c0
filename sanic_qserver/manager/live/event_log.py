"""The event log: events are numbered, the last of each topic are kept, and subscribers who come back continue.

An id is `<epoch>-<number>`. The epoch of a server that is alone is new with every start: an id of another epoch cannot
be continued from, and the subscriber is told so. Replicas have their log in common (see `shared`). Each topic has its
own log: a flood on the console does not push out what happened to the queue.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from heapq import merge
from itertools import takewhile
from typing import Any, NamedTuple, Protocol

import msgspec

from sanic_qserver.config.settings import LiveConfig
from sanic_qserver.manager.live.broadcaster import Broadcaster
from sanic_qserver.manager.live.subscriber import Message

TOPICS = ("status", "queue", "history", "console", "runs", "lock", "plans", "devices", "info", "proposals")
STATE_TOPICS = frozenset(TOPICS) - {"console", "info", "proposals"}
"""Topics that tell changes of a state, and are meaningless without it."""
STREAM = "stream"  # The topic of messages about the stream itself; every subscriber gets it.

_encode = msgspec.json.encode
_Numbered = tuple[int, Message]


def private_topic(topic: str, name: str) -> str:
    """The part of a topic that concerns one principal only."""
    return f"{topic}@{name}"


def public_topic(topic: str) -> str:
    """The topic that a private one is part of; any other as it is."""
    return topic.partition("@")[0]


def number_of(event_id: str) -> int:
    """The number in an id; -1 for what is none."""
    number = event_id.rpartition("-")[2]
    return int(number) if number.isascii() and number.isdigit() and len(number) < 20 else -1


class EventSink(Protocol):
    """Where those who follow RE Manager publish what they find."""

    @property
    def last_id(self) -> str:
        """The id of the newest event."""
        ...

    def publish(self, topic: str, kind: str, data: Any, at: float | None = None) -> None:
        """Publish an event. `at` is when it happened, POSIX time; now by default."""
        ...

    def message(self, topic: str, kind: str, data: Any, event_id: str = "") -> Message:
        """An event that is not logged."""
        ...

    def lose(self, topics: Iterable[str]) -> None:
        """What happened to these topics until now was not followed."""
        ...

    def beat(self) -> None:
        """Send everybody a heartbeat."""
        ...


class Continuation(NamedTuple):
    """What a subscriber missed: the logged messages, and the topics of which some are lost, with the reason."""

    messages: list[Message]
    lost_topics: frozenset[str]
    reason: str


class EventLog:
    """Numbers, logs and broadcasts events. One per application."""

    def __init__(self, config: LiveConfig, now: Callable[[], float] = time.time, epoch: str = "") -> None:
        self.epoch = epoch or os.urandom(4).hex()
        self.broadcaster = Broadcaster(config)
        self._now = now
        self.number = 0
        self._logged: dict[str, deque[_Numbered]] = {topic: deque(maxlen=config.kept_events) for topic in TOPICS}
        self._lost: dict[str, int] = dict.fromkeys(TOPICS, 0)  # number of the newest event that is not kept

    @property
    def last_id(self) -> str:
        """The id of the newest event."""
        return f"{self.epoch}-{self.number}"

    def publish(
        self, topic: str, kind: str, data: Any, at: float | None = None, audience: tuple[str, ...] = ()
    ) -> None:
        """Log an event and send it to the topic's subscribers. `at` is when it happened, POSIX time; now by default.

        Each of the `audience` gets it too: they subscribe only to what concerns them (`private_topic`).
        """
        number = self.number + 1
        self.take(number, self.message(topic, kind, data, f"{self.epoch}-{number}", at), audience)

    def take(self, number: int, message: Message, audience: tuple[str, ...] = ()) -> None:
        """Log and send an event that has its number."""
        self.broadcaster.publish(self.keep(number, message, audience))

    def keep(self, number: int, message: Message, audience: tuple[str, ...] = ()) -> tuple[Message, ...]:
        """Log an event that has its number. Gives it for everybody, and for each of the audience."""
        self.number, topic = number, message.topic
        messages = (message, *(message._replace(topic=private_topic(topic, name)) for name in audience))
        kept = self._logged[topic]
        for one in messages:
            if len(kept) == kept.maxlen:
                self._lost[topic] = kept[0][0]
            kept.append((number, one))
        return messages

    def message(self, topic: str, kind: str, data: Any, event_id: str = "", at: float | None = None) -> Message:
        """An event that is not logged: for one subscriber, or about the stream. An id allows to continue from it."""
        body = _encode({"id": event_id or None, "time": at or self._now(), "topic": topic, "type": kind, "data": data})
        return Message(topic, body, event_id)

    def lose(self, topics: Iterable[str]) -> None:
        """Clear the log of these topics: ids given until now do not continue them."""
        self.number += 1
        for topic in topics:
            self._lost[topic] = self.number
            self._logged[topic].clear()

    def beat(self) -> None:
        """Send everybody a heartbeat."""
        self.broadcaster.publish((self.message(STREAM, "heartbeat", {"last_id": self.last_id}),))

    def since(self, event_id: str, topics: Iterable[str], unsure: frozenset[str] = frozenset()) -> Continuation:
        """What came after the event with this id. Topics that are `unsure` count as lost."""
        epoch, number = event_id.rpartition("-")[0], number_of(event_id)
        wanted = frozenset(topics)  # Private ones among them are kept with the topic that they are part of.
        if epoch != self.epoch or not 0 <= number <= self.number:
            return Continuation([], wanted, "the id is not of this run of the server")
        lost = frozenset(topic for topic in wanted if topic in unsure or number < self._lost[public_topic(topic)])
        rows = [[row for row in self._after(public_topic(topic), number) if row[1].topic == topic]
                for topic in wanted - lost]  # fmt: skip
        reason = "too much happened since, or nobody watched" if lost else ""
        return Continuation([message for _, message in merge(*rows)], lost, reason)

    def _after(self, topic: str, number: int) -> list[_Numbered]:
        """The logged events of a topic after this number: mostly none or few."""
        return [*takewhile(lambda row: row[0] > number, reversed(self._logged[topic]))][::-1]
