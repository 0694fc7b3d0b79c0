"""What RE Manager publishes, and its status, as every replica hears it from the follower: none asks by itself."""

import asyncio
from collections.abc import Callable
from time import monotonic

import msgspec

from sanic_qserver.manager.live.status_feed import StatusFeed
from sanic_qserver.manager.publications import Listener

_ASK_S = 1.0


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
    """The status as it was relayed. RE Manager is asked by `look`, for who must not get an older one.

    And once a second while nothing is relayed (`is_relayed`), for who watches: the log is away, the status is not.
    """

    is_relayed = False

    async def _keep_asking(self) -> None:
        while True:
            await asyncio.sleep(_ASK_S)
            if not self.is_relayed and len(self._followers) > 1:  # One keeps it, see `SharedState`.
                await self.look()
                self._frame()

    def take(self, raw: bytes) -> None:
        """Begin with this one."""
        self._accept(msgspec.Raw(raw), is_reply=True)

    def lose(self) -> None:
        """RE Manager does not answer."""
        self._lost()
