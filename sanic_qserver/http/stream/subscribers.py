"""Who watches now: every open websocket and stream. They are counted, looked at again each second, and told at the end.

Permissions may be taken away, and windows may shut, while somebody watches: then the stream ends and says so.
"""

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable

from sanic_qserver.api.endpoint import Stream
from sanic_qserver.errors import Forbidden, GatewayError, ShuttingDown
from sanic_qserver.http.gate import Gate
from sanic_qserver.http.stream.memory import Crowd
from sanic_qserver.scopes import Scope
from sanic_qserver.structs.identity import Access

log = logging.getLogger("sanic_qserver.http")

STOP_S = 1.0
_LOOK_S = 1.0


@dataclasses.dataclass(eq=False)
class Watching:
    """One who watches: who it is, what is watched, and how it is ended (politely, with a reason)."""

    access: Access
    row: Stream
    end: Callable[[GatewayError], Awaitable[None]]
    scopes: frozenset[Scope] = frozenset()

    def rows(self) -> list[Stream]:
        """The row, once for each scope that the watcher needs beside the row's own."""
        return [self.row, *(dataclasses.replace(self.row, scope=scope) for scope in self.scopes)]


class Watchers:
    """Those who watch. One an application."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self._open: set[Watching] = set()
        self._task: asyncio.Task[None] | None = None
        self._endings: set[asyncio.Future[None]] = set()
        self._crowd = Crowd()

    def __len__(self) -> int:
        return len(self._open)

    def add(self, watching: Watching) -> None:
        """Somebody came."""
        self._open.add(watching)
        self._crowd.counted(len(self._open))

    def remove(self, watching: Watching) -> None:
        """Somebody left."""
        self._open.discard(watching)
        self._crowd.counted(len(self._open))

    def start(self) -> None:
        """Begin to look at permissions."""
        self._task = asyncio.get_running_loop().create_task(self._keep_looking())

    async def stop(self) -> None:
        """End all, politely, within `STOP_S`."""
        if self._task is not None:
            self._task.cancel()
        self._crowd.stop()
        endings = [self._end(one, ShuttingDown("The server is stopping")) for one in self._open]
        if endings:
            await asyncio.wait(endings, timeout=STOP_S)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            self._look()

    def _look(self) -> None:
        for watching in tuple(self._open):
            if not self._is_admitted(watching):
                self.remove(watching)
                self._end(watching, Forbidden("Not enough permissions any more"))

    def _is_admitted(self, watching: Watching) -> bool:
        """Whether it may go on. A policy that fails ends this stream, and no other one's look."""
        try:
            return all(self.gate.still_admitted(watching.access, row) for row in watching.rows())
        except Exception:  # An edge: policies may be a site's own code.
            log.exception(
                "Whether '%s' may still watch %s cannot be told", watching.access.principal, watching.row.path
            )
            return False

    def _end(self, watching: Watching, why: GatewayError) -> "asyncio.Future[None]":
        ending = asyncio.ensure_future(watching.end(why))
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)
        return ending
