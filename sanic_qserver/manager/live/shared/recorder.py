"""What the follower finds goes into Redis: each tick's events, and the states that they lead to, in one atomic step.

A step whose outcome is unknown is never repeated: the follower ends, and whoever follows next begins from the states
that are stored. So no event is there twice, and none is missing: what is stored is what was told.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import Any

from sanic_qserver.config.settings import LiveConfig
from sanic_qserver.manager.live.event_log import STATE_TOPICS
from sanic_qserver.manager.live.shared.log import encode_event
from sanic_qserver.manager.live.shared.states import AWAY, Look, snapshot_data, store_part, topics_told_from
from sanic_qserver.manager.live.shared.store import RELAYS, Entry, LogStore
from sanic_qserver.manager.live.subscriber import Message

log = logging.getLogger("sanic_qserver.replicas")

_MOST = 20_000  # Entries that wait while Redis is slow; then output of the console is left out.
_NOTHING = Look(None, None, None, None, None)
_MAY_BE_LEFT_OUT = frozenset({"console", "info", *RELAYS})


class Recorder:
    """Implements `EventSink`, for one time of following."""

    def __init__(self, config: LiveConfig, store: LogStore, epoch: str, fence: int) -> None:
        self.last_id = ""
        self._left_out_count = 0
        self._config = config
        self._store = store
        self._epoch = epoch
        self._fence = fence
        self._look: Callable[[], Look] = lambda: _NOTHING
        self._stored = _NOTHING
        self._told: set[str] = set()
        self._is_away = False
        self._entries: list[Entry] = []
        self._changed = asyncio.Event()
        self._sending = asyncio.Lock()
        self._is_unknown = False  # what became of the last step

    def record(self, look: Callable[[], Look], known: Look) -> None:
        """Store what `look` gives from now on, whenever it changes; `known` is stored already."""
        self._look, self._stored = look, known
        self._told = topics_told_from([name for name, part in known._asdict().items() if part is not None])

    def publish(self, topic: str, kind: str, data: Any, at: float | None = None) -> None:
        """Append an event with the next tick. One of a state that nobody was told yet is part of its snapshot."""
        if topic == "status" and kind in ("available", "unavailable"):
            self._is_away = kind == "unavailable"
        elif topic in STATE_TOPICS and topic not in self._told:
            self.change()
            return
        self._add(Entry(topic, encode_event(topic, kind, data, at), kind))

    def relay(self, stream: str, payload: bytes) -> None:
        """Append a publication of RE Manager with the next tick."""
        self._add(Entry(stream, payload))

    def _add(self, entry: Entry) -> None:
        if len(self._entries) >= _MOST and entry.stream in _MAY_BE_LEFT_OUT:
            self._left_out_count += 1
            return
        self._entries.append(entry)
        self._changed.set()

    def change(self) -> None:
        """Something may have changed: store what has, with the next tick."""
        self._changed.set()

    def message(self, topic: str, kind: str, data: Any, event_id: str = "") -> Message:
        """An event that is not logged."""
        return Message(topic, encode_event(topic, kind, data, None), event_id)

    def lose(self, topics: Iterable[str]) -> None:
        """Nothing is lost: it is followed from what is stored."""

    def beat(self) -> None:
        """Each replica has a heartbeat of its own."""

    async def run(self) -> None:
        """Append tick after tick. Ends with SharedStateAway or Refused only."""
        while True:
            await self._changed.wait()
            began_at = monotonic()
            async with self._sending:
                await self._flush()
            await asyncio.sleep(max(0.0, self._config.tick_s - (monotonic() - began_at)))

    async def finish(self) -> None:
        """Append what is left, unless nobody knows what became of the step before."""
        async with self._sending:
            if not self._is_unknown:
                await self._flush()

    async def _flush(self) -> None:
        # Up to the first `await` nothing changes: these events and these states belong together.
        self._changed.clear()
        entries, self._entries = self._entries, []
        states = self._new_states()
        entries += self._first_snapshots(states)
        if self._left_out_count:
            log.warning("Redis is too slow: %d lines of the console were left out", self._left_out_count)
            self._left_out_count = 0
        if not entries and not states:
            return
        self._is_unknown = True
        number = await self._store.append(self._epoch, self._fence, entries, states)
        self._is_unknown = False
        self.last_id = f"{self._epoch}-{number}"

    def _new_states(self) -> dict[str, bytes]:
        """The parts that changed since they were stored."""
        states: dict[str, bytes] = {}
        for name, part in self._look()._asdict().items():
            if part is not None and part is not getattr(self._stored, name):
                states.update(store_part(name, part))
                self._stored = self._stored._replace(**{name: part})
        if self._is_away:
            states[AWAY] = b"1"
        return states

    def _first_snapshots(self, states: dict[str, bytes]) -> Iterator[Entry]:
        """A topic whose state was never known begins with its snapshot."""
        for topic in sorted(topics_told_from(states) - self._told):
            if (data := snapshot_data(topic, states)) is not None:
                self._told.add(topic)
                yield Entry(topic, encode_event(topic, "snapshot", data, None), "snapshot")
