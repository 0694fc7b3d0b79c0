"""Events: numbered, the last of each topic kept, handed to watchers, and found again by those who come back.

An id is `<epoch>-<number>`. The epoch is new with every start of this server (and in every worker): an id of another
epoch cannot be continued from, and the watcher is told so. Each topic is kept by itself: a flood on the console does
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
from sanic_qserver.manager.live.broadcaster import Channel, Message

TOPICS = ("status", "queue", "history", "console", "runs", "lock", "plans", "devices", "info", "proposals")
STATE_TOPICS = frozenset(TOPICS) - {"console", "info", "proposals"}
"""Topics that tell changes of a state, and are meaningless without it."""
STREAM = "stream"  # The topic of what is told about the stream itself; every watcher gets it.

_encode = msgspec.json.encode
_Numbered = tuple[int, Message]


def private_topic(topic: str, name: str) -> str:
    """The part of a topic that concerns one principal only."""
    return f"{topic}@{name}"


def public_topic(topic: str) -> str:
    """The topic that a private one is part of; any other as it is."""
    return topic.partition("@")[0]


class Continued(NamedTuple):
    """What a watcher missed: the kept messages, and the topics of which some are lost, with the reason."""

    messages: list[Message]
    lost_topics: frozenset[str]
    reason: str


class Events:
    """The events of an application."""

    def __init__(self, config: LiveConfig, now: Callable[[], float] = time.time, epoch: str = "") -> None:
        self.epoch = epoch or os.urandom(4).hex()
        self.channel = Channel(config)
        self._now = now
        self._number = 0
        self._kept: dict[str, deque[_Numbered]] = {topic: deque(maxlen=config.kept_events) for topic in TOPICS}
        self._lost: dict[str, int] = dict.fromkeys(TOPICS, 0)  # number of the newest event that is not kept

    @property
    def last_id(self) -> str:
        """The id of the newest event."""
        return f"{self.epoch}-{self._number}"

    def publish(
        self, topic: str, kind: str, data: Any, at: float | None = None, audience: tuple[str, ...] = ()
    ) -> None:
        """Tell everybody who watches the topic. `at` is when it happened, POSIX time; now by default.

        Each of the `audience` is told too, who watches only what concerns them (`private_topic`).
        """
        self._number += 1
        message = self.message(topic, kind, data, self.last_id, at)
        messages = (message, *(message._replace(topic=private_topic(topic, name)) for name in audience))
        kept = self._kept[topic]
        for one in messages:
            if len(kept) == kept.maxlen:
                self._lost[topic] = kept[0][0]
            kept.append((self._number, one))
        self.channel.publish(messages)

    def message(self, topic: str, kind: str, data: Any, event_id: str = "", at: float | None = None) -> Message:
        """An event that is not kept: for one watcher, or about the stream. With an id, one can continue from it."""
        body = _encode({"id": event_id or None, "time": at or self._now(), "topic": topic, "type": kind, "data": data})
        return Message(topic, body, event_id)

    def lose(self, topics: Iterable[str]) -> None:
        """Nobody looks at these topics from now on: what happens meanwhile is lost."""
        self._number += 1
        for topic in topics:
            self._lost[topic] = self._number
            self._kept[topic].clear()

    def since(self, event_id: str, topics: Iterable[str], unsure: frozenset[str] = frozenset()) -> Continued:
        """What came after the event with this id. Topics that are `unsure` count as lost."""
        epoch, _, number = event_id.rpartition("-")
        wanted = frozenset(topics)  # Private ones among them are kept with the topic that they are part of.
        if epoch != self.epoch or not number.isascii() or not number.isdigit() or int(number) > self._number:
            return Continued([], wanted, "the id is not of this run of the server")
        lost = frozenset(topic for topic in wanted if topic in unsure or int(number) < self._lost[public_topic(topic)])
        rows = [
            [row for row in self._kept[public_topic(topic)] if row[0] > int(number) and row[1].topic == topic]
            for topic in wanted - lost
        ]
        reason = "too much happened since, or nobody watched" if lost else ""
        return Continued([message for _, message in merge(*rows)], lost, reason)
