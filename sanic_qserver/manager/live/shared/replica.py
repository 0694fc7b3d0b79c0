"""Builds the live data of a replica, and runs what feeds them."""

import asyncio
import contextlib
from time import monotonic

from sanic_qserver.config.settings import Config
from sanic_qserver.manager.live.broadcaster import Broadcaster
from sanic_qserver.manager.live.live import Live
from sanic_qserver.manager.live.shared.follower import Follower
from sanic_qserver.manager.live.shared.log import SharedLog
from sanic_qserver.manager.live.shared.relay import RelayedPublications, RelayedStatus
from sanic_qserver.manager.live.shared.state import SharedState
from sanic_qserver.manager.live.shared.store import LogStore
from sanic_qserver.manager.publications import Publications
from sanic_qserver.manager.read_cache import ReadCache
from sanic_qserver.shared_state.lease import Lease, fence_key
from sanic_qserver.shared_state.redis import SharedRedis

_LEASE = "follower"
_FIRST_S = 3.0


def build_replica(config: Config, reads: ReadCache, redis: SharedRedis, console: Broadcaster) -> Live:
    """The live data of a replica."""
    store = LogStore(redis, fence_key(redis, _LEASE), config.live.kept_events, config.console.max_messages)
    events = SharedLog(config.live, store)
    heard = Publications(config.manager)
    publications = RelayedPublications(heard)
    status = RelayedStatus(config.live, publications, lambda: reads.coalesce("status"))
    state = SharedState(store, events, status, publications, reads)
    follower = Follower(config.live, heard, reads, store, state.mirror)
    feed = Replica(events, state, status, follower, Lease(redis, _LEASE, follower.follow))
    return Live(config.live, publications, console, status, events, state, state, feed)


class Replica:
    """Implements `Feed` for a replica: it reads the log of all, and tries to become the one that writes it."""

    def __init__(
        self, events: SharedLog, state: SharedState, status: RelayedStatus, follower: Follower, lease: Lease
    ) -> None:
        self.lease = lease
        self.mirror = state.mirror
        self._events = events
        self._state = state
        self._status = status
        self._follower = follower

    @property
    def condition(self) -> str:
        """Who follows RE Manager, as far as one knows here."""
        if self.mirror.is_away:
            return "the Redis that replicas share does not answer: no new event streams"
        return f"ok: {'this' if self.lease.is_held else 'another'} replica follows RE Manager"

    def gauges(self) -> dict[str, float]:
        """For the metrics."""
        return {
            "qserver_events_following": int(self.lease.is_held),
            "qserver_events_lease_gained": self.lease.gained_count,
            "qserver_events_lease_lost": self.lease.lost_count,
            "qserver_events_read_age_seconds": monotonic() - self.mirror.heard_at if self.mirror.heard_at else -1,
        }

    async def open(self) -> None:
        """Begin, and wait a little for the log: a server that starts while Redis is away serves all the rest."""
        self._follower.open()
        self._events.open()
        self._state.open()
        self.lease.open()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_S):
                await self.mirror.connected.wait()

    async def close(self) -> None:
        """Stop: another replica follows at once."""
        await self.lease.close()
        await self._events.close()
        await self._state.close()
        self._status.close()
        self._follower.close()
