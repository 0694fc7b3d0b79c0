"""Builds the live data: of a server that is alone, or of a replica."""

from sanic_qserver.config.settings import Config
from sanic_qserver.manager.live.broadcaster import Broadcaster
from sanic_qserver.manager.live.event_log import EventLog
from sanic_qserver.manager.live.lines import join_lines
from sanic_qserver.manager.live.live import Live
from sanic_qserver.manager.live.state import StateTracker
from sanic_qserver.manager.live.status_feed import StatusFeed
from sanic_qserver.manager.publications import Publications
from sanic_qserver.manager.read_cache import ReadCache
from sanic_qserver.shared_state.redis import SharedRedis


def build_live(config: Config, reads: ReadCache, redis: SharedRedis | None) -> Live:
    """The live data; with a Redis those of a replica."""
    console = Broadcaster(config.live, prepare=join_lines)
    if redis is not None:
        from sanic_qserver.manager.live.shared.replica import build_replica  # noqa: PLC0415  # not needed alone

        return build_replica(config, reads, redis, console)
    publications = Publications(config.manager)
    status = StatusFeed(config.live, publications, lambda: reads.coalesce("status"))
    events = EventLog(config.live)
    state = StateTracker(config.live, events, status, reads, console)
    feed = Alone(publications, status, state)
    return Live(config.live, publications, console, status, events, state, state, feed)


class Alone:
    """Implements `Feed` for a server that is alone: it listens, and asks while somebody subscribes."""

    def __init__(self, publications: Publications, status: StatusFeed, state: StateTracker) -> None:
        self._publications = publications
        self._status = status
        self._state = state

    @property
    def condition(self) -> str:
        """Nothing to say."""
        return ""

    def gauges(self) -> dict[str, float]:
        """None."""
        return {}

    async def open(self) -> None:
        """Listen to RE Manager."""
        self._publications.open()

    async def close(self) -> None:
        """Stop."""
        self._state.close()
        self._status.close()
        self._publications.close()
