"""What RE Manager publishes, and its status, as every replica hears it from the follower: none asks by itself."""

import asyncio
from collections.abc import Callable

import msgspec

from sanic_qserver.manager.live.status_feed import StatusFeed
from sanic_qserver.manager.publications import Listener, PublicationSource

_ASK_S = 1.0


class RelayedPublications:
    """Implements `PublicationSource` with what was relayed; `heard` is what this replica hears itself."""

    def __init__(self, heard: PublicationSource) -> None:
        self._heard = heard
        self._listeners: list[Listener] = []

    @property
    def heard_at(self) -> float:
        """When RE Manager was last heard here: what is relayed may be a status that it was asked for."""
        return self._heard.heard_at

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each message from now on. Returns the function that ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def tell(self, topic: str, payload: bytes) -> None:
        """Hand on one message."""
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
