"""What RE Manager publishes, and its status, as every replica hears it from the follower: none asks by itself."""

import asyncio
from collections.abc import Callable
from time import monotonic

import msgspec

from sanic_qserver.manager.live.status_feed import StatusFeed
from sanic_qserver.manager.publications import Listener


class RelayedPublications:
    """Implements `PublicationSource` with what was relayed."""

    def __init__(self) -> None:
        self.heard_at = 0.0
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each message from now on. Returns the function that ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def tell(self, topic: str, payload: bytes) -> None:
        """Hand on one message."""
        self.heard_at = monotonic()
        for listener in tuple(self._listeners):
            listener(topic, payload)


class RelayedStatus(StatusFeed):
    """The status as it was relayed. It is never polled; `look` asks RE Manager, for who must not get an older one."""

    async def _keep_asking(self) -> None:
        await asyncio.Event().wait()

    def take(self, raw: bytes) -> None:
        """Begin with this one."""
        self._accept(msgspec.Raw(raw), is_reply=True)

    def lose(self) -> None:
        """RE Manager does not answer."""
        self._lost()
