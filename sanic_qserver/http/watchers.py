"""Who watches now: every open websocket and stream, so that all can be told when the server stops."""

import asyncio
from typing import Protocol

CLOSE_S = 1.0


class Watching(Protocol):
    """One who watches."""

    async def stop(self) -> None:
        """Tell the watcher that the server stops, and end."""
        ...


class Watchers:
    """Those who watch. One an application."""

    def __init__(self) -> None:
        self._open: set[Watching] = set()

    def __len__(self) -> int:
        return len(self._open)

    def add(self, watching: Watching) -> None:
        """Somebody came."""
        self._open.add(watching)

    def remove(self, watching: Watching) -> None:
        """Somebody left."""
        self._open.discard(watching)

    async def stop(self) -> None:
        """End all, politely, within `CLOSE_S`."""
        if self._open:
            await asyncio.wait([asyncio.ensure_future(one.stop()) for one in self._open], timeout=CLOSE_S)
