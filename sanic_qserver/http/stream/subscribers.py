"""The open streams and websockets. Their permissions are checked every second, and they end when the server stops.

When permissions are revoked, or a validity window ends, the stream ends too and says why.
"""

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable

from sanic_qserver.api.endpoint import Stream
from sanic_qserver.errors import Forbidden, GatewayError, ShuttingDown
from sanic_qserver.http.gate import Gate
from sanic_qserver.http.stream.memory import MemoryTrimmer
from sanic_qserver.scopes import Scope
from sanic_qserver.structs.identity import Access

log = logging.getLogger("sanic_qserver.http")

STOP_S = 1.0
_CHECK_S = 1.0


@dataclasses.dataclass(eq=False)
class Subscription:
    """One open stream: whose it is, its row, and how to end it with a reason."""

    access: Access
    row: Stream
    end: Callable[[GatewayError], Awaitable[None]]
    scopes: frozenset[Scope] = frozenset()

    def rows(self) -> list[Stream]:
        """The row, once for each scope that the subscription needs beside the row's own."""
        return [self.row, *(dataclasses.replace(self.row, scope=scope) for scope in self.scopes)]


class Subscriptions:
    """All open streams. One for each application."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self._open: set[Subscription] = set()
        self._task: asyncio.Task[None] | None = None
        self._is_stopped = False
        self._endings: set[asyncio.Future[None]] = set()
        self._trimmer = MemoryTrimmer()

    def __len__(self) -> int:
        return len(self._open)

    def add(self, subscription: Subscription) -> None:
        """A stream was opened."""
        self._open.add(subscription)
        if self._is_stopped:
            self._end(subscription, ShuttingDown("The server is stopping"))
        self._trimmer.record(len(self._open))

    def remove(self, subscription: Subscription) -> None:
        """A stream was closed."""
        self._open.discard(subscription)
        self._trimmer.record(len(self._open))

    def start(self) -> None:
        """Start to check permissions."""
        self._is_stopped = False
        self._task = asyncio.get_running_loop().create_task(self._keep_checking())

    async def stop(self) -> None:
        """End all streams, within `STOP_S`, and those that are opened from now on."""
        self._is_stopped = True
        if self._task is not None:
            self._task.cancel()
        self._trimmer.stop()
        endings = [self._end(one, ShuttingDown("The server is stopping")) for one in self._open]
        if endings:
            await asyncio.wait(endings, timeout=STOP_S)

    async def _keep_checking(self) -> None:
        while True:
            await asyncio.sleep(_CHECK_S)
            self._check_all()

    def _check_all(self) -> None:
        for subscription in tuple(self._open):
            if not self._is_admitted(subscription):
                self.remove(subscription)
                self._end(subscription, Forbidden("Not enough permissions any more"))

    def _is_admitted(self, subscription: Subscription) -> bool:
        """Whether it may go on. A policy that raises ends this stream only."""
        try:
            return all(self.gate.still_admitted(subscription.access, row) for row in subscription.rows())
        except Exception:  # Policies may be third-party code.
            log.exception(
                "It cannot be decided whether '%s' may still receive %s",
                subscription.access.principal,
                subscription.row.path,
            )
            return False

    def _end(self, subscription: Subscription, why: GatewayError) -> "asyncio.Future[None]":
        ending = asyncio.ensure_future(subscription.end(why))
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)
        return ending
