"""Keeps the log of this process equal to the one in Redis, and relays what the follower heard of RE Manager.

The rules:
1. Events are taken in the order of their numbers, whatever their topic: one question reads all streams at once.
2. While Redis is away, subscribers stay and are told (`stream`, `interrupted`); once it is back they are told that
   (`resumed`) and get what they missed. Only what Redis has not got any more is a gap: they are told the topics, and
   get the states anew.
3. Nothing waits here: what is taken is handed on at once, and all that is kept is bounded by the log.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from time import monotonic

from sanic_qserver.manager.live.event_log import STREAM, TOPICS
from sanic_qserver.manager.live.shared.log import SharedLog, message_of
from sanic_qserver.manager.live.shared.states import TOLD
from sanic_qserver.manager.live.shared.store import RELAYS, Everything, LogStore, Read, States
from sanic_qserver.shared_state.redis import SharedStateAway
from sanic_qserver.tasks import end_tasks

log = logging.getLogger("sanic_qserver.replicas")

_RETRY_S = 0.3
_CHECK_S = 1.0
_REACH_S = 3.0


class Mirror:
    """Reads the log of all replicas. `on_relayed` gets the relay's name and a publication, `on_event` each event.

    `on_lost` gets the topics whose events are lost here, and the states to go on from; `on_touch` is called when
    `is_away` has changed.
    """

    def __init__(
        self,
        store: LogStore,
        events: SharedLog,
        on_relayed: Callable[[str, bytes], None],
        on_event: Callable[[Read], None],
        on_lost: Callable[[frozenset[str], States], None],
        on_touch: Callable[[], None],
    ) -> None:
        self.connected = asyncio.Event()
        self.heard_at = 0.0
        self._store = store
        self._events = events
        self._on_relayed = on_relayed
        self._on_event = on_event
        self._on_lost = on_lost
        self._on_touch = on_touch
        self._after: dict[str, str] = {}
        self._reached: dict[asyncio.Future[None], int] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def is_away(self) -> bool:
        """Whether what is here may be behind the log of all."""
        return not self.connected.is_set()

    def open(self) -> None:
        """Begin to read."""
        self._task = asyncio.get_running_loop().create_task(self._keep_reading())

    async def close(self) -> None:
        """Stop reading."""
        await end_tasks(self._task)

    async def reach(self, number: int) -> None:
        """Wait until the event with this number is here. Raises SharedStateAway."""
        if number <= self._events.number:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reached[future] = number
        try:
            async with asyncio.timeout(_REACH_S):
                await future
        except TimeoutError:
            raise away("the log of all replicas could not be read in time") from None
        finally:
            del self._reached[future]

    async def _keep_reading(self) -> None:
        while True:
            try:
                await self._open()
                await self._read()
            except SharedStateAway as error:
                self._tell_away(error)
                await asyncio.sleep(_RETRY_S)
            except Exception:  # An edge: nobody would read any more, and nobody would hear of it.
                log.exception("The log of all replicas could not be read")
                self._tell_away(away("it could not be read"))
                await asyncio.sleep(_RETRY_S)

    async def _open(self) -> None:
        epoch, _ = await self._store.open(self._events.epoch, self._events.number)
        if epoch != self._events.epoch:
            await self._load()
        self.heard_at = monotonic()
        if self.is_away:
            self.connected.set()
            self._on_touch()
            self._tell("resumed", {"last_id": self._events.last_id})

    async def _read(self) -> None:
        """Read on and on. Returns when the log was begun anew."""
        checked_at = monotonic()
        while True:
            entries = await self._store.wait(self._after)
            self.heard_at = monotonic()
            if any(len(entries.get(topic, ())) >= self._store.max_length for topic in TOPICS):
                await self._load()  # Some may have gone before they were read.
            else:
                self._take(entries)
            if monotonic() - checked_at >= _CHECK_S:
                checked_at = monotonic()
                epoch, number = await self._store.position()
                if epoch != self._events.epoch or number < self._events.number:
                    return

    def _take(self, entries: Mapping[str, list[Read]]) -> None:
        for stream in RELAYS:
            for read in entries.get(stream, ()):
                self._on_relayed(stream, read.body)
        events = [read for topic in TOPICS for read in entries.get(topic, ())]
        for read in sorted(events, key=lambda read: read.number):
            self._events.take(read.number, message_of(read, self._events.epoch), read.audience)
            self._on_event(read)
        self._after.update({stream: rows[-1].id for stream, rows in entries.items() if rows})
        self._let_go()

    def _let_go(self) -> None:
        for future, number in self._reached.items():
            if number <= self._events.number and not future.done():
                future.set_result(None)

    async def _load(self) -> None:
        """Read the whole log, and hand on what of it is new here."""
        found = await self._store.everything(TOLD)
        events, states = self._events, found.states
        known = events.number if states.epoch == events.epoch else -1
        lost = frozenset(topic for topic in TOPICS if known < 0 or found.lost[topic] > known)
        events.epoch = states.epoch
        self._take(_new(found, known, lost, self._after))
        for topic in lost:
            events.restore(topic, found.entries[topic], found.lost[topic])
        events.number = states.number
        for stream, rows in found.entries.items():
            self._after[stream] = rows[-1].id if rows else "0-0"
        self._on_lost(lost, states)
        self._let_go()

    def _tell_away(self, error: SharedStateAway) -> None:
        if not self.is_away:
            self.connected.clear()
            self._on_touch()
            log.warning("Events: %s. Subscribers get what they miss later.", error.detail)
            self._tell("interrupted", {"detail": error.detail})

    def _tell(self, kind: str, data: dict[str, str]) -> None:
        self._events.broadcaster.publish((self._events.message(STREAM, kind, data),))


def away(why: str) -> SharedStateAway:
    """The error for who needs the log of all replicas now."""
    return SharedStateAway(f"The Redis that replicas share: {why}", headers={"Retry-After": "1"})


def _new(found: Everything, known: int, lost: frozenset[str], after: Mapping[str, str]) -> dict[str, list[Read]]:
    """What was not here: the events of the topics that are not lost, and what was relayed."""
    new = {
        topic: [read for read in found.entries[topic] if read.number > known] for topic in TOPICS if topic not in lost
    }
    for stream in RELAYS:
        newest = _place(after.get(stream, "0-0"))
        new[stream] = [read for read in found.entries[stream] if _place(read.id) > newest]
    return new


def _place(entry_id: str) -> tuple[int, ...]:
    return tuple(map(int, entry_id.split("-")))
