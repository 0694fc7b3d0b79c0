"""The state of RE Manager as a replica tells its subscribers: from the log of all, and from what is stored with it.

A new subscriber gets the stored states, which are exactly as of one number of the log, and the events after it. They
are read once for all who come within `_REUSED_FOR` events, so that many who come back at once cost one question.

While RE Manager does not answer, subscribers begin with the last state that was known. A topic whose state was never
known is subscribed to at once: its first event is its snapshot.
"""

import asyncio
from collections.abc import Callable, Iterable

import msgspec

from sanic_qserver.errors import GatewayError
from sanic_qserver.manager.live.diff import parse_history, parse_queue
from sanic_qserver.manager.live.event_log import STATE_TOPICS, STREAM, TOPICS, Continuation, number_of
from sanic_qserver.manager.live.shared.log import SharedLog
from sanic_qserver.manager.live.shared.mirror import Mirror, away
from sanic_qserver.manager.live.shared.relay import RelayedPublications, RelayedStatus
from sanic_qserver.manager.live.shared.states import AWAY, TOLD, snapshot_data
from sanic_qserver.manager.live.shared.store import LogStore, Read, States
from sanic_qserver.manager.live.status_feed import Snapshot
from sanic_qserver.manager.live.subscriber import Message, Subscriber
from sanic_qserver.manager.publications import CONSOLE, INFO
from sanic_qserver.manager.read_cache import ReadCache

_REUSED_FOR = 100
_TRIES = 5
_AWAY_S = 1.0
_HEARTBEAT_S = 10.0
_NOTHING = States("", 0, {})


class _Item(msgspec.Struct):
    item_uid: str = ""


class _Event(msgspec.Struct):
    data: _Item


_decode_event = msgspec.json.Decoder(_Event).decode


class SharedState:
    """Implements `State` and `Items` for a replica."""

    unsure: frozenset[str] = frozenset()

    def __init__(
        self, store: LogStore, events: SharedLog, status: RelayedStatus, publications: RelayedPublications,
        reads: ReadCache,
    ) -> None:  # fmt: skip
        self.mirror = Mirror(store, events, self._relay, self._on_event, self._on_lost, self._on_touch)
        self._store = store
        self._events = events
        self._status = status
        self._publications = publications
        self._reads = reads
        self._base = _NOTHING
        self._snapshots: dict[str, Message | None] = {}
        self._fetching: asyncio.Task[None] | None = None
        self._beat: asyncio.TimerHandle | None = None
        self._end_status: Callable[[], None] = lambda: None
        self._on_look: list[Callable[[], None]] = []
        self._looking: asyncio.Task[None] | None = None
        self._waiting = 0
        self._finished: set[str] = set()
        self._queued: set[str] = set()

    def open(self) -> None:
        """Begin to read the log."""
        self._end_status = self._status.follow(self._on_status)  # And it is kept while nobody subscribes.
        self.mirror.open()
        self._heartbeat()

    async def close(self) -> None:
        """Stop."""
        if self._beat is not None:
            self._beat.cancel()
        self._end_status()
        await self.mirror.close()

    # What subscribers begin with.

    @property
    def base_id(self) -> str:
        """The id of which the snapshots are."""
        return f"{self._base.epoch}-{self._base.number}"

    async def want(self, topics: Iterable[str], since: str = "") -> Callable[[], None]:
        """On return these topics can be begun with, or continued from an id. Raises SharedStateAway."""
        wanted = frozenset(topics)
        try:
            async with asyncio.timeout(_AWAY_S):  # It may be back at once.
                await self.mirror.connected.wait()
        except TimeoutError:
            raise away("it does not answer") from None
        await self._reach(since)
        for _ in range(_TRIES):
            if self._can_begin(wanted, since):
                return lambda: None
            await self._fetch()
        raise away("the states could not be read in time")

    async def _reach(self, since: str) -> None:
        """Another replica may have given an id that is not here yet."""
        epoch, number = since.rpartition("-")[0], number_of(since)
        if epoch == self._events.epoch and number > self._events.number:
            newest_epoch, newest = await self._store.position()
            if newest_epoch == epoch and number <= newest:
                await self.mirror.reach(number)

    def _can_begin(self, topics: frozenset[str], since: str) -> bool:
        missed = self._events.since(since, topics) if since else Continuation([], topics, "")
        if not missed.lost_topics & STATE_TOPICS:
            return True
        base = self._base
        is_fresh = base.epoch == self._events.epoch and self._events.number - base.number <= _REUSED_FOR
        is_behind = missed.lost_topics != topics and base.number < number_of(since)
        if not is_fresh or is_behind or self._events.since(self.base_id, topics).lost_topics:
            return False
        # A state that came to be known after the base: its first event was sent before this subscriber came.
        unknown = [topic for topic in missed.lost_topics & STATE_TOPICS if self.snapshot(topic) is None]
        return not self._events.since(self.base_id, unknown).messages

    async def _fetch(self) -> None:
        """Read the states, once for all who ask meanwhile."""
        if self._fetching is None:
            self._fetching = asyncio.get_running_loop().create_task(self._fetch_once())
            self._fetching.add_done_callback(lambda task: task.cancelled() or task.exception())  # All may have left.
        await asyncio.shield(self._fetching)

    async def _fetch_once(self) -> None:
        try:
            states = await self._store.states(TOLD)
            await self.mirror.reach(states.number)
            if states.epoch == self._events.epoch:
                self._begin_with(states)
        finally:
            self._fetching = None

    def _begin_with(self, states: States) -> None:
        self._base, self._snapshots = states, {}

    def snapshot(self, topic: str) -> Message | None:
        """The state of a topic as of `base_id`; None where there is none, or it is not known."""
        if topic not in self._snapshots:
            data = snapshot_data(topic, self._base.bodies)
            made = None if data is None else self._events.message(topic, "snapshot", data, self.base_id)
            self._snapshots[topic] = made
        return self._snapshots[topic]

    def subscribe_later(self, subscriber: Subscriber, topics: Iterable[str]) -> None:
        """Subscribe to these topics, whose state is not known: their first event is their snapshot."""
        subscriber.topics |= frozenset(topics)

    def _heartbeat(self) -> None:
        self._events.beat()
        self._beat = asyncio.get_running_loop().call_later(_HEARTBEAT_S, self._heartbeat)

    # What the mirror reads.

    def _on_status(self, _: Snapshot | None) -> None:
        if self.mirror.is_away and self._waiting and self._looking is None:  # The log does not tell of items now.
            self._looking = asyncio.get_running_loop().create_task(self._look_again())

    async def _look_again(self) -> None:
        try:
            await self._look_at_items()
        except (GatewayError, msgspec.MsgspecError):
            return
        finally:
            self._looking = None
        self._tell_look()

    def _tell_look(self) -> None:
        for listener in tuple(self._on_look):
            listener()

    def _relay(self, stream: str, payload: bytes) -> None:
        self._publications.tell(CONSOLE if stream == "relay:console" else INFO, payload)

    def _on_touch(self) -> None:
        self._status.is_relayed = not self.mirror.is_away

    def _on_event(self, read: Read) -> None:
        if read.stream == "status" and read.kind == "unavailable":
            self._status.lose()
        elif self._waiting and read.stream in ("queue", "history"):
            uid = _decode_event(read.body).data.item_uid
            (self._finished if read.stream == "history" else self._queued).add(uid)
            self._tell_look()

    def _on_lost(self, topics: frozenset[str], states: States) -> None:
        self._begin_with(states)
        if "status" in states.bodies and not states.bodies.get(AWAY):
            self._status.take(states.bodies["status"])
        if not topics:
            return
        gap = {"topics": sorted(topics), "reason": "the Redis that replicas share has lost what came before"}
        told = [self._events.message(STREAM, "gap", gap, self.base_id)]
        told += [snapshot for topic in TOPICS if topic in topics and (snapshot := self.snapshot(topic))]
        self._events.broadcaster.publish(told)

    # Items, for those who wait for one.

    async def follow_items(self) -> Callable[[], None]:
        """From now on it is known which items are queued and which have finished. Asks RE Manager, once."""
        self._waiting += 1
        ended = False

        def end() -> None:
            nonlocal ended
            self._waiting -= not ended
            ended = True
            if not self._waiting:
                self._finished.clear()
                self._queued.clear()

        try:
            await self._look_at_items()
        except (GatewayError, msgspec.MsgspecError):
            pass  # Then the log tells.
        except BaseException:
            end()
            raise
        return end

    async def _look_at_items(self) -> None:
        # The queue first: what leaves it meanwhile is in the history.
        queue = parse_queue((await self._reads.read("queue_get")).json)
        history = parse_history((await self._reads.read("history_get")).json)
        self._queued.update(queue.items, (queue.running_uid,))
        self._finished.update(history.items)

    def has_finished(self, uid: str) -> bool:
        """Whether an item is in the history."""
        return uid in self._finished

    def knows_item(self, uid: str) -> bool:
        """Whether an item is in the queue, runs, or is in the history."""
        return uid in self._finished or uid in self._queued

    def on_look(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` when items may have changed. Returns the function that ends it."""
        self._on_look.append(listener)
        return lambda: self._on_look.remove(listener)
