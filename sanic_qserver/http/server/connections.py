"""Every open connection: how many there may be, in all and from one address, and a look at each once a second.

One timer for all of them: a thousand connections cost a look of a millisecond a second, and a deadline is kept to the
second however long it is.
"""

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol

from sanic_qserver.structs.networks import UNIX

LOOK_S = 1.0
_FINISH_LOOK_S = 0.05
_LAST_LOOKS = 20  # For the answers of those who were given up.
# Bytes that are read only to be dropped: an upload waits for its turn, and what would wait too long is cut off.
_DROPPED_PER_S = 32_000_000
_LONGEST_WAIT_S = 2.0
_V6_PREFIX = 64  # A household or an office holds this much, so it counts as one address.


class Watched(Protocol):
    """What is looked at."""

    def look(self, now: float) -> None:
        """End it when something takes too long. `now`: of the monotonic clock."""
        ...

    def close_if_quiet(self, now: float) -> None:
        """Close it when nothing is on its way in either direction."""
        ...

    def give_up(self) -> None:
        """End what is served, with an answer if there is still time for one."""
        ...

    def abort(self) -> None:
        """End it now."""
        ...


class Connections:
    """The open connections of one process."""

    def __init__(
        self,
        most: int,
        most_per_address: int,
        write_stall_s: float,
        subscriber_stall_s: float,
        is_proxy: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """`is_proxy`: of an address, which is then not counted. The stall limits are for whoever reads nothing."""
        self.write_stall_s = write_stall_s
        self.subscriber_stall_s = max(write_stall_s, subscriber_stall_s)
        self.refused_count = 0
        self.is_draining = False  # Then each answer is its connection's last.
        self._most = most
        self._most_per_address = most_per_address
        self._is_proxy = is_proxy
        self._open: dict[Watched, str] = {}
        self._by_address: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._dropped, self._dropped_at = 0.0, 0.0

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, connection: Watched, address: str) -> bool:
        """Count a connection. False when there are too many. `address`: see `read_peer`."""
        network = "" if self._is_proxy(address) else _find_network(address)
        if len(self._open) >= self._most or (network and self._by_address[network] >= self._most_per_address):
            self.refused_count += 1
            return False
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)
        self._open[connection] = network
        if network:
            self._by_address[network] += 1
        return True

    async def finish(self, limit_s: float, hurry: asyncio.Event) -> None:
        """Wait until every connection has ended; end what is left after `limit_s`, or at once when `hurry` is set."""
        until = monotonic() + limit_s
        while self._open and not hurry.is_set() and (now := monotonic()) < until:
            for connection in tuple(self._open):
                connection.close_if_quiet(now)
            await asyncio.sleep(_FINISH_LOOK_S if self._open else 0)
        for connection in tuple(self._open):
            connection.give_up()
        for _ in range(_LAST_LOOKS):
            if self._open:
                await asyncio.sleep(_FINISH_LOOK_S)
        for connection in tuple(self._open):
            connection.abort()

    async def settle(self) -> None:
        """Wait, but not for long, until those who served connections that have ended have noticed."""
        if self._ending:
            await asyncio.wait(self._ending, timeout=LOOK_S)

    def leave(self, connection: Watched, task: "asyncio.Task[None] | None") -> None:
        """The connection has ended. `task`: what serves it, and ends soon."""
        if task is not None:
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
        network = self._open.pop(connection, "")
        if network:
            self._by_address[network] -= 1
            if not self._by_address[network]:
                del self._by_address[network]

    def drop(self, size: int) -> float | None:
        """So many bytes are dropped: how long to wait before more is read, in seconds. None: no more is read.

        All connections together have a rate for this, and wait for it by turns.
        """
        now = monotonic()
        self._dropped = max(0.0, self._dropped - (now - self._dropped_at) * _DROPPED_PER_S)
        self._dropped_at = now
        if self._dropped > _DROPPED_PER_S * (1 + _LONGEST_WAIT_S):
            return None
        self._dropped += size
        return max(0.0, self._dropped / _DROPPED_PER_S - 1)

    def _look(self) -> None:
        now = monotonic()
        for connection in tuple(self._open):
            connection.look(now)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(LOOK_S, self._look) if self._open else None


def read_peer(transport: Any) -> str:
    """The peer's address; "unix" over a unix socket."""
    peer = transport.get_extra_info("peername")
    return peer[0] if isinstance(peer, tuple) else UNIX


def _find_network(address: str) -> str:
    if ":" not in address:
        return "" if address == UNIX else address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, _V6_PREFIX), strict=False))
