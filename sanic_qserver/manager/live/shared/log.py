"""The log that all replicas share, as one of them has it in memory: the same events under the same ids.

What this process publishes itself (proposals, uploads) goes to Redis, and comes back from there with its number, as
for everybody. It is sent until Redis has it, under one token, so that it is there once; of what waits meanwhile the
oldest goes when there are more than `_OUTBOX`.
"""

import asyncio
import contextlib
import logging
import os
from collections import deque
from collections.abc import Iterable
from time import time
from typing import Any

import msgspec

from sanic_qserver.config.settings import LiveConfig
from sanic_qserver.manager.live.event_log import EventLog
from sanic_qserver.manager.live.shared.store import Entry, LogStore, Read, Refused
from sanic_qserver.manager.live.subscriber import Message
from sanic_qserver.shared_state.redis import SharedStateAway
from sanic_qserver.tasks import end_tasks

log = logging.getLogger("sanic_qserver.replicas")

_OUTBOX = 1000
_RETRY_S = 0.5
_CLOSING_S = 1.0


def encode_event(topic: str, kind: str, data: Any, at: float | None) -> bytes:
    """An event as it is appended: its id comes to its front once it has one (`message_of`)."""
    return msgspec.json.encode({"time": at or time(), "topic": topic, "type": kind, "data": data})


def message_of(read: Read, epoch: str) -> Message:
    """An entry of the log as the event that subscribers get."""
    event_id = f"{epoch}-{read.number}"
    return Message(read.stream, b'{"id":"%b",%b' % (event_id.encode(), read.body[1:]), event_id)


class SharedLog(EventLog):
    """Has the epoch "" until it was loaded."""

    def __init__(self, config: LiveConfig, store: LogStore) -> None:
        super().__init__(config)
        self.epoch = ""
        self._store = store
        self._outbox: deque[Entry] = deque(maxlen=_OUTBOX)
        self._has_more = asyncio.Event()
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self._task: asyncio.Task[None] | None = None

    def publish(
        self, topic: str, kind: str, data: Any, at: float | None = None, audience: tuple[str, ...] = ()
    ) -> None:
        """Append an event to the log of all replicas, soon."""
        if len(self._outbox) == _OUTBOX:
            log.warning("An event is lost: Redis does not answer, and %d wait for it", _OUTBOX)
        self._outbox.append(Entry(topic, encode_event(topic, kind, data, at), kind, audience))
        self._has_more.set()
        self._is_empty.clear()

    def restore(self, topic: str, reads: Iterable[Read], lost: int) -> None:
        """Have these events of a topic, and no others. Nobody is sent anything."""
        self._logged[topic].clear()
        self._lost[topic] = lost
        for read in reads:
            self.keep(read.number, message_of(read, self.epoch), read.audience)

    def open(self) -> None:
        """Begin to send what is published."""
        self._task = asyncio.get_running_loop().create_task(self._keep_sending())

    async def close(self) -> None:
        """Send what is left, if Redis answers."""
        if self._task is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSING_S):
                    await self._is_empty.wait()
            await end_tasks(self._task)

    async def _keep_sending(self) -> None:
        while True:
            await self._has_more.wait()
            self._has_more.clear()
            entries = [self._outbox.popleft() for _ in range(len(self._outbox))]
            await self._send(entries, os.urandom(8).hex())
            if not self._outbox:
                self._is_empty.set()

    async def _send(self, entries: list[Entry], token: str) -> None:
        while True:
            try:
                if self.epoch:
                    await self._store.append(self.epoch, None, entries, {}, token)
                    return
            except (SharedStateAway, Refused):
                pass  # Refused: the log was begun anew, and this process has not read it yet.
            await asyncio.sleep(_RETRY_S)
