"""All live data: the broadcasters that clients subscribe to, and what feeds them. One per application."""

from collections.abc import Callable, Iterable
from typing import Protocol

from sanic_qserver.config.settings import LiveConfig
from sanic_qserver.manager.live.broadcaster import Broadcaster
from sanic_qserver.manager.live.conditions import Items, Waits
from sanic_qserver.manager.live.event_log import EventLog
from sanic_qserver.manager.live.status_feed import StatusFeed
from sanic_qserver.manager.live.subscriber import Message, Subscriber
from sanic_qserver.manager.publications import CONSOLE, PublicationSource


class State(Protocol):
    """What subscribers of events begin with."""

    @property
    def base_id(self) -> str:
        """The id of which the snapshots are."""
        ...

    @property
    def unsure(self) -> frozenset[str]:
        """Topics that nobody continues."""
        ...

    async def want(self, topics: Iterable[str], since: str = "") -> Callable[[], None]:
        """On return these topics can be begun with, or continued from an id. Returns what ends it."""
        ...

    def snapshot(self, topic: str) -> Message | None:
        """The state of a topic as of `base_id`; None where there is none, or it is not known."""
        ...

    def subscribe_later(self, subscriber: Subscriber, topics: Iterable[str]) -> None:
        """Subscribe to these topics, whose state is not known now, once it is: first their snapshots."""
        ...


class Feed(Protocol):
    """What runs while the server does, and feeds all the rest.

    `condition` is for `/readyz`, "" when there is nothing to say; `gauges` are figures for the metrics.
    """

    @property
    def condition(self) -> str:
        """How it is, in words."""
        ...

    def gauges(self) -> dict[str, float]:
        """How it is, in figures."""
        ...

    async def open(self) -> None:
        """Begin."""
        ...

    async def close(self) -> None:
        """Stop."""
        ...


class Live:
    """The console (topic `console`), the status feed, and the events made of changes. See `building`."""

    def __init__(
        self,
        config: LiveConfig,
        publications: PublicationSource,
        console: Broadcaster,
        status: StatusFeed,
        events: EventLog,
        state: State,
        items: Items,
        feed: Feed,
    ) -> None:
        self.config = config
        self.publications = publications
        self.console = console
        self.status = status
        self.events = events
        self.state = state
        self.waits = Waits(status, items)
        self.feed = feed

    async def open(self) -> None:
        """Follow the publications."""
        self.publications.listen(self._hear)
        await self.feed.open()

    async def close(self) -> None:
        """Stop following."""
        await self.feed.close()

    def _hear(self, topic: str, payload: bytes) -> None:
        if topic == CONSOLE:
            self.console.publish((Message("console", payload),))
