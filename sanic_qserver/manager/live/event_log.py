"""The event log: events are numbered, the last of each topic are kept, and subscribers who come back continue.

An id is `<epoch>-<number>`. The epoch is new with every start of this server (and in every worker): an id of another
epoch cannot be continued from, and the subscriber is told so. Each topic has its own log: a flood on the console does
not push out what happened to the queue.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from heapq import merge
from typing import Any, NamedTuple

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
        self._number = 0
        self._logged: dict[str, deque[_Numbered]] = {topic: deque(maxlen=config.kept_events) for topic in TOPICS}
        self._lost: dict[str, int] = dict.fromkeys(TOPICS, 0)  # number of the newest event that is not kept

    @property
    def last_id(self) -> str:
        """The id of the newest event."""
        return f"{self.epoch}-{self._number}"

    def publish(
        self, topic: str, kind: str, data: Any, at: float | None = None, audience: tuple[str, ...] = ()
    ) -> None:
        """Log an event and send it to the topic's subscribers. `at` is when it happened, POSIX time; now by default.

        Each of the `audience` gets it too: they subscribe only to what concerns them (`private_topic`).
        """
        self._number += 1
        message = self.message(topic, kind, data, self.last_id, at)
        messages = (message, *(message._replace(topic=private_topic(topic, name)) for name in audience))
        kept = self._logged[topic]
        for one in messages:
            if len(kept) == kept.maxlen:
                self._lost[topic] = kept[0][0]
            kept.append((self._number, one))
        self.broadcaster.publish(messages)

    def message(self, topic: str, kind: str, data: Any, event_id: str = "", at: float | None = None) -> Message:
        """An event that is not logged: for one subscriber, or about the stream. An id allows to continue from it."""
        body = _encode({"id": event_id or None, "time": at or self._now(), "topic": topic, "type": kind, "data": data})
        return Message(topic, body, event_id)

    def lose(self, topics: Iterable[str]) -> None:
        """Clear the log of these topics: ids given until now do not continue them."""
        self._number += 1
        for topic in topics:
            self._lost[topic] = self._number
            self._logged[topic].clear()

    def since(self, event_id: str, topics: Iterable[str], unsure: frozenset[str] = frozenset()) -> Continuation:
        """What came after the event with this id. Topics that are `unsure` count as lost."""
        epoch, _, number = event_id.rpartition("-")
        wanted = frozenset(topics)  # Private ones among them are kept with the topic that they are part of.
        if epoch != self.epoch or not number.isascii() or not number.isdigit() or int(number) > self._number:
            return Continuation([], wanted, "the id is not of this run of the server")
        lost = frozenset(topic for topic in wanted if topic in unsure or int(number) < self._lost[public_topic(topic)])
        rows = [
            [row for row in self._logged[public_topic(topic)] if row[0] > int(number) and row[1].topic == topic]
            for topic in wanted - lost
        ]
        reason = "too much happened since, or nobody watched" if lost else ""
        return Continuation([message for _, message in merge(*rows)], lost, reason)
