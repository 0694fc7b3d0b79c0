"""Follows RE Manager's state and publishes its changes as events, while somebody subscribes.

The status says that something changed (each part has a uid); the part is then read and compared with the last look.
What came and went between two looks is not reported; an item which ran always is, as started and finished:
the history remembers it.

A subscriber gets events of a topic only after its snapshot, or a continuation that is known to be complete. While RE
Manager does not answer there is no snapshot: a subscriber that comes then is not subscribed to the topic yet
(`subscribe_later`). Its snapshot comes with the first look that succeeds, and the events after it. Ids that were given
before that look do not continue the topic: they may belong to a subscriber that had no snapshot.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from sanic_qserver.config.settings import LiveConfig
from sanic_qserver.errors import GatewayError
from sanic_qserver.manager.live.broadcaster import Broadcaster
from sanic_qserver.manager.live.diff import (
    Change,
    HistoryState,
    QueueState,
    RunsState,
    diff_histories,
    diff_queues,
    diff_runs,
    find_new_items,
    parse_history,
    parse_lock,
    parse_queue,
    parse_runs,
    to_data,
)
from sanic_qserver.manager.live.event_log import TOPICS, EventSink
from sanic_qserver.manager.live.status_feed import Snapshot, StatusFeed
from sanic_qserver.manager.live.subscriber import Message, Subscriber
from sanic_qserver.manager.read_cache import ReadCache

log = logging.getLogger("sanic_qserver.manager")

_HEARTBEAT_S = 10.0
_LONGEST_PAUSE_S = 3.0
UIDS = {
    "plans": ("plans_allowed_uid", "plans_existing_uid"),
    "devices": ("devices_allowed_uid", "devices_existing_uid"),
}
_ALWAYS_NEW = frozenset({"time", "status_uid"})
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class StateTracker:
    """Follows the topics that somebody wants, and `linger_s` longer. One per application."""

    def __init__(
        self, config: LiveConfig, events: EventSink, status: StatusFeed, reads: ReadCache, console: Broadcaster
    ) -> None:
        self.events = events
        self._config = config
        self._status = status
        self._reads = reads
        self._console = console
        self._watchers: Counter[str] = Counter()
        self._wanted: set[str] = set()
        self._lingering: dict[str, asyncio.TimerHandle] = {}
        self._ends: list[Callable[[], None]] = []
        self._task: asyncio.Task[None] | None = None
        self._beat: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self._snapshots_of: tuple[object, ...] = ()
        self._snapshots: dict[str, Message | None] = {}
        self._looking = asyncio.Lock()
        self._next_look: asyncio.Task[bool] | None = None
        self._looks: set[asyncio.Task[bool]] = set()
        self._pending: dict[Subscriber, frozenset[str]] = {}
        self._unsure: set[str] = set()
        self._on_look: list[Callable[[], None]] = []
        self._told: dict[str, Any] | None = None
        self._is_available = True
        self.queue: QueueState | None = None
        self.history: HistoryState | None = None
        self.runs: RunsState | None = None
        self.lock: dict[str, msgspec.Raw] | None = None

    def resume(
        self,
        status: dict[str, Any] | None,
        is_available: bool,
        queue: QueueState | None,
        history: HistoryState | None,
        runs: RunsState | None,
        lock: dict[str, msgspec.Raw] | None,
    ) -> None:
        """Before it begins: what another tracker saw last. The first look tells what changed since."""
        self._told, self._is_available = status, is_available
        self.queue, self.history, self.runs, self.lock = queue, history, runs, lock

    async def want(self, topics: Iterable[str], _since: str = "") -> Callable[[], None]:
        """Follow these topics; on return their state is known, if RE Manager answers. Returns what ends it."""
        wanted = frozenset(topics)
        self._watchers.update(wanted)
        for topic in wanted:
            if timer := self._lingering.pop(topic, None):
                timer.cancel()
        if new := wanted - self._wanted:
            self.events.lose(new)  # What happened until now was not followed.
            self._wanted |= new
        self._begin()
        ended = False

        def end() -> None:
            nonlocal ended
            if not ended:
                ended = True
                self._leave(wanted)

        try:
            if not self._status.is_away:  # Otherwise the status feed notices its return as soon.
                await self._status.look()
                await self._look()
        except BaseException:
            end()
            raise
        if self._status.current is None:
            self._is_available = False  # Subscribers are told so now: their next status event must be `available`.
        return end

    @property
    def base_id(self) -> str:
        """The id of which the snapshots are: the newest."""
        return self.events.last_id

    async def follow_items(self) -> Callable[[], None]:
        """From now on it is known which items are queued and which have finished. Returns what ends it."""
        return await self.want(("queue", "history"))

    def has_finished(self, uid: str) -> bool:
        """Whether an item is in the history."""
        return self.history is not None and uid in self.history.items

    def knows_item(self, uid: str) -> bool:
        """Whether an item is in the queue, runs, or is in the history."""
        queue = self.queue
        return self.has_finished(uid) or (queue is not None and (uid in queue.items or uid == queue.running_uid))

    @property
    def unsure(self) -> frozenset[str]:
        """Topics of which an id may belong to a subscriber that never got a snapshot: nobody continues them."""
        return frozenset(self._unsure)

    def subscribe_later(self, subscriber: Subscriber, topics: Iterable[str]) -> None:
        """Subscribe to these topics, whose state is not known now, once it is: first their snapshots."""
        wanted = frozenset(topics)
        if wanted:
            self._unsure |= wanted
            self._pending[subscriber] = wanted
            subscriber.on_close(lambda: self._give_up(subscriber))

    def _give_up(self, subscriber: Subscriber) -> None:
        self._pending.pop(subscriber, None)

    def _subscribe_pending(self) -> None:
        """Subscribe those who waited for a state that is known now."""
        known = frozenset(topic for topic in self._unsure if self.snapshot(topic) is not None)
        if not known:
            return
        self.events.lose(known)  # The ids until now.
        for subscriber, topics in tuple(self._pending.items()):
            ready = topics & known
            snapshots = [snapshot for topic in TOPICS if topic in ready and (snapshot := self.snapshot(topic))]
            if ready and subscriber.add_topics(ready, snapshots):
                self._pending[subscriber] = topics - ready
                if not self._pending[subscriber]:
                    del self._pending[subscriber]
        self._unsure -= known.difference(*self._pending.values())
        if self._pending:  # A subscriber is behind.
            asyncio.get_running_loop().call_later(self._config.poll_s, self._changed.set)

    def on_look(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` after each look. Returns the function that ends it."""
        self._on_look.append(listener)
        return lambda: self._on_look.remove(listener)

    def close(self) -> None:
        """Stop at once."""
        for timer in self._lingering.values():
            timer.cancel()
        self._lingering.clear()
        self._wanted.clear()
        for look in self._looks:
            look.cancel()
        self._end()

    def snapshot(self, topic: str) -> Message | None:
        """The state of a topic, for a new subscriber; None where there is none, or it is not known.

        Encoded once for all who begin at the same event.
        """
        key = (self.events.last_id, self._status.current, self.queue, self.history, self.runs, self.lock)
        if key != self._snapshots_of:
            self._snapshots_of, self._snapshots = key, {}
        if topic not in self._snapshots:
            data = self._snapshot(topic)
            made = None if data is None else self.events.message(topic, "snapshot", data, self.events.last_id)
            self._snapshots[topic] = made
        return self._snapshots[topic]

    def _snapshot(self, topic: str) -> Any:
        status = self._status.current
        if status is None:
            return None
        if topic == "status":
            return msgspec.Raw(status.raw)
        if topic in UIDS:
            return {name: status.values.get(name) for name in UIDS[topic]}
        if topic == "lock":
            return self.lock
        state = {"queue": self.queue, "history": self.history, "runs": self.runs}.get(topic)
        return None if state is None else to_data(state)

    def _begin(self) -> None:
        if self._task is None:
            self._ends = [self._status.follow(self._on_status), self._console.listen(self._on_console),
                          self._status.info.listen(self._on_info)]  # fmt: skip
            self._task = asyncio.get_running_loop().create_task(self._keep_looking())
            self._heartbeat()

    def _end(self) -> None:
        while self._ends:
            self._ends.pop()()
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._beat is not None:
            self._beat.cancel()
        self._told = self.queue = self.history = self.runs = self.lock = None

    def _leave(self, topics: frozenset[str]) -> None:
        self._watchers.subtract(topics)
        loop = asyncio.get_running_loop()
        for topic in topics:
            if self._watchers[topic] <= 0 and topic in self._wanted and topic not in self._lingering:
                self._lingering[topic] = loop.call_later(self._config.linger_s, self._forget, topic)

    def _forget(self, topic: str) -> None:
        self._lingering.pop(topic, None)
        self._wanted.discard(topic)
        self.events.lose((topic,))
        self._unsure.discard(topic)
        if topic in ("queue", "history") and not self._wanted & {"queue", "history"}:
            self.queue = self.history = None
        elif topic == "runs":
            self.runs = None
        elif topic == "lock":
            self.lock = None
        if not self._wanted:
            self._end()

    def _heartbeat(self) -> None:
        self.events.beat()
        self._beat = asyncio.get_running_loop().call_later(_HEARTBEAT_S, self._heartbeat)

    def _on_console(self, messages: Sequence[Message]) -> None:
        if "console" not in self._wanted:
            return
        for message in messages:
            try:
                output = _decode(message.body)
                self.events.publish("console", "output", {"text": output["msg"]}, msgspec.json.decode(output["time"]))
            except (msgspec.MsgspecError, KeyError):
                continue

    def _on_info(self, messages: Sequence[Message]) -> None:
        if "info" not in self._wanted:
            return
        for message in messages:
            try:
                contents = _decode(_decode(message.body)["msg"]) if message.topic == "info" else {}
            except (msgspec.MsgspecError, KeyError):
                continue
            for kind, content in contents.items():
                self.events.publish("info", kind, content)

    def _on_status(self, status: Snapshot | None) -> None:
        self._changed.set()
        told, self._told = self._told, (status.values if status is not None else self._told)
        if status is None:
            if self._is_available:
                self._publish("status", "unavailable", {"detail": "RE Manager does not answer"})
            self._is_available = False
            return
        if not self._is_available:
            self._is_available = True
            self._publish("status", "available", msgspec.Raw(status.raw))
        if told is None:
            return
        changed = {name: value for name, value in status.values.items() if told.get(name) != value}
        if not changed.keys() <= _ALWAYS_NEW:
            self._publish("status", "changed", {"changed": changed})
        for topic, names in UIDS.items():
            if not changed.keys().isdisjoint(names):
                self._publish(topic, "changed", {name: status.values.get(name) for name in names})

    def _publish(self, topic: str, kind: str, data: Any) -> None:
        if topic in self._wanted:
            self.events.publish(topic, kind, data)

    async def _keep_looking(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            began = time.monotonic()
            has_seen = await self._look()
            # RE Manager is serial: at most a fifth of its time is asked for, also with a large queue. But a look that
            # failed cost it nothing, and one that took very long may have waited for an RE Manager that hung.
            cost_s = time.monotonic() - began if has_seen else 0.0
            await asyncio.sleep(max(self._config.tick_s, min(4 * cost_s, _LONGEST_PAUSE_S)))

    async def _look(self) -> bool:
        """Look once for all who ask before it begins: with a hung RE Manager each would wait after the other.

        Whether it was looked at.
        """
        if self._next_look is None:
            self._next_look = asyncio.get_running_loop().create_task(self._look_once())
            self._looks.add(self._next_look)
            self._next_look.add_done_callback(self._looks.discard)
        return await asyncio.shield(self._next_look)

    async def _look_once(self) -> bool:
        """Read the wanted parts that changed, and publish the changes. What cannot be read now is read next time."""
        async with self._looking:
            self._next_look = None
            status = self._status.current
            if status is None:
                return False
            try:
                if self._wanted & {"queue", "history"}:
                    await self._look_at_items(status.values)
                if "runs" in self._wanted:
                    await self._look_at_runs(status.values)
                if "lock" in self._wanted:
                    await self._look_at_lock(status.values)
            except (GatewayError, msgspec.MsgspecError, ValueError) as error:
                log.debug("Could not look at what changed: %s", error)
                asyncio.get_running_loop().call_later(self._config.poll_s, self._changed.set)
                return False
            self._subscribe_pending()
            for listener in tuple(self._on_look):
                listener()
            return True

    async def _read(self, method: str) -> bytes:
        return (await self._reads.read(method)).json

    async def _look_at_items(self, status: dict[str, Any]) -> None:
        queue, history = self.queue, self.history
        if queue is None or queue.uid != status.get("plan_queue_uid"):
            queue = parse_queue(await self._read("queue_get"))
        has_stopped = self.queue is not None and self.queue.running_uid not in ("", queue.running_uid)
        if has_stopped:
            # Not from the cache: while a plan ends, the status that it is checked against may be behind the queue, and
            # the item would be told as finished twice, without and with its result.
            history = parse_history(await self._reads.coalesce("history_get"))
        elif history is None or history.uid != status.get("plan_history_uid"):
            history = parse_history(await self._read("history_get"))
        if queue.running_uid in history.items:
            # The queue was the one behind. What is in the history has ended for good: no uid is run twice.
            queue = msgspec.structs.replace(queue, running_uid="", running=msgspec.Raw(b"{}"))
        old_queue, old_history, self.queue, self.history = self.queue, self.history, queue, history
        if old_queue is None or old_history is None:
            return
        ended = [end for _, end in find_new_items(old_history, history)]
        self._tell("queue", diff_queues(old_queue, queue, ended), plan_queue_uid=queue.uid)
        self._tell("history", diff_histories(old_history, history), plan_history_uid=history.uid)

    async def _look_at_runs(self, status: dict[str, Any]) -> None:
        if self.runs is None or self.runs.uid != status.get("run_list_uid"):
            old, self.runs = self.runs, parse_runs(await self._read("re_runs"))
            if old is not None:
                self._tell("runs", diff_runs(old, self.runs), run_list_uid=self.runs.uid)

    async def _look_at_lock(self, status: dict[str, Any]) -> None:
        uid = None if self.lock is None else msgspec.json.decode(self.lock["lock_info_uid"])
        if uid is None or uid != status.get("lock_info_uid"):
            self.lock = parse_lock(await self._read("lock_info"))
            if uid is not None:
                self._publish("lock", "changed", self.lock)

    def _tell(self, topic: str, changes: Iterable[Change], **more: str) -> None:
        for change in changes:
            self._publish(topic, change.type, {**change.data, **more})
