"""The RE Manager client: one DEALER socket, several calls in flight, each with its own deadlines.

The rules:
1. RE Manager is serial. At most `window` calls are on the socket; the others wait in our own bounded queue.
2. A call that was not sent may be refused safely: 503 when the queue is full or when it waited longer than
   `queue_wait_s`, for its turn or for a connection. When the queue is full, whoever has most calls in it gives way.
3. A call that was sent has a deadline of its own: 408, and if it changes something, its outcome is unknown.
4. A call that timed out keeps its place in the window until its late reply comes (and is dropped) or the
   connection dies: a manager that hangs gets at most `window` calls to execute when it wakes up.
5. When the connection dies, what was in flight fails at once. Nothing is ever sent twice.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable
from typing import Any

import msgspec

from sanic_qserver.config.settings import ManagerConfig, SubmissionsConfig
from sanic_qserver.errors import GatewayError, ManagerUnavailable, ShuttingDown
from sanic_qserver.manager.client.batching import folder
from sanic_qserver.manager.client.call import Entry, Waiting
from sanic_qserver.manager.client.failures import lost, timed_out, too_many, unavailable, waited
from sanic_qserver.manager.client.methods import deadline_s
from sanic_qserver.manager.client.rate import Rate
from sanic_qserver.manager.client.scheduler import FairQueue
from sanic_qserver.manager.client.transport import Connection, make_codec

log = logging.getLogger("sanic_qserver.manager")

_ZOMBIE_S = 600.0  # A place in the window is given back after this, should a reply be lost without a disconnect.
_deadline = deadline_s


class ManagerClient:
    """Calls RE Manager. `open` and `close` it on the running loop; `request` is all that others need."""

    def __init__(self, config: ManagerConfig, submissions: SubmissionsConfig | None = None) -> None:
        self.config = config
        self.counts = {"sent": 0, "answered": 0, "timed_out": 0, "lost": 0, "late": 0, "refused": 0}
        self._encode, self._to_json = make_codec(config.encoding)
        self._folds = submissions is not None and submissions.group_commit
        self._waiting: Waiting = FairQueue(
            folder(self._encode, self._to_json),
            at_once=max(1, config.window // 2),
            max_batch=submissions.max_batch if submissions is not None else 1,
        )
        self.rate = Rate()
        self._in_flight: dict[bytes, Entry] = {}
        self._ids = itertools.count(1)
        self._connection = Connection(config, self)

    def open(self) -> None:
        """Start connecting. RE Manager may be absent; it is tried for again and again."""
        self._loop = asyncio.get_running_loop()
        self._connection.open()

    async def close(self) -> None:
        """Fail what is under way and release the sockets."""
        if self._connection.is_open:
            self._connection.is_open = False
            self._fail_all(ShuttingDown)
            self._connection.close()

    @property
    def is_connected(self) -> bool:
        """Whether calls can be sent now."""
        return self._connection.is_connected

    @property
    def last_failure(self) -> str:
        """Why there is no connection, where that is known."""
        return self._connection.last_failure

    @property
    def waiting_count(self) -> int:
        """Calls that were not sent yet."""
        return len(self._waiting)

    @property
    def has_readers(self) -> bool:
        """Whether somebody reads, now or a moment ago, and would wait behind a long write."""
        return self._waiting.has_readers

    @property
    def in_flight_count(self) -> int:
        """Calls that were sent and not answered, late ones included."""
        return len(self._in_flight)

    async def request(
        self, method: str, params: Any = None, *, deadline_s: float | None = None, lane: str = ""
    ) -> bytes:
        """Send one call and wait for RE Manager's reply: a JSON object, as bytes.

        Raises ManagerTimeout or ManagerLost (it was sent: the outcome is unknown), Overloaded,
        ManagerUnavailable or ShuttingDown (it was not sent).
        """
        return await self.submit(method, params, deadline_s=deadline_s, lane=lane)

    def submit(
        self, method: str, params: Any = None, *, deadline_s: float | None = None, lane: str = ""
    ) -> "asyncio.Future[bytes]":
        """As `request`, but returns at once with the future of the reply.

        `lane` names who asks. Calls of a lane are sent in the order of submission (reads apart from writes); lanes
        take turns.
        """
        return self.call(method, params, deadline_s=deadline_s, lane=lane).future

    def call(self, method: str, params: Any = None, *, deadline_s: float | None = None, lane: str = "") -> Entry:
        """As `submit`, but returns the call itself, which knows whether it was sent."""
        self._make_room(lane)
        payload = self._encode({"method": method, "params": {} if params is None else params})
        deadline = deadline_s or _deadline(method, self.config)
        entry = Entry(method, payload, deadline, self._loop.create_future(), lane)
        self._wait(entry)
        return entry

    def add(self, item: Any, user: Any, user_group: Any, *, lane: str = "") -> "asyncio.Future[bytes]":
        """Add one item at the back of the queue, perhaps together with those that wait next to it."""
        method = "queue_item_add"
        params = {"item": item, "user": user, "user_group": user_group}
        if not self._folds:
            return self.submit(method, params, lane=lane)
        self._make_room(lane)
        params["item"] = encoded = msgspec.Raw(self._encode(item))
        payload = self._encode({"method": method, "params": params})
        entry = Entry(method, payload, _deadline(method, self.config), self._loop.create_future(), lane)
        entry.submission = (encoded, user, user_group)
        entry.fold = (user, user_group)
        self._wait(entry)
        return entry.future

    def _wait(self, entry: Entry) -> None:
        self._waiting.append(entry)
        self._send_waiting()
        if not entry.sent_at:
            self._start_waiting(entry)

    def _start_waiting(self, entry: Entry) -> None:
        entry.timer = self._loop.call_later(self.config.queue_wait_s, self._waited_too_long, entry)

    def _make_room(self, lane: str) -> None:
        """Refuse the call, or the newest one of whoever has most in the queue, when the queue is full."""
        if not self._connection.is_open:
            raise ShuttingDown("The connection to RE Manager is closed")
        if len(self._waiting) < self.config.queue_limit:
            return
        self.counts["refused"] += 1
        displaced = self._waiting.displace(lane)
        if displaced is None:
            raise self._full()
        self._fail(displaced, self._full())

    def _full(self) -> GatewayError:
        if not self.is_connected:
            return self._unavailable()
        return too_many(len(self._waiting), self._retry_after)

    @property
    def _retry_after(self) -> str:
        return self.rate.retry_after(len(self._waiting))

    def _unavailable(self) -> ManagerUnavailable:
        return unavailable(self.config.control_address, self.last_failure)

    def _waited_too_long(self, entry: Entry) -> None:
        self._waiting.drop(entry)
        if entry.is_settled:
            return
        self.counts["refused"] += 1
        entry.fail(waited(self.config.queue_wait_s, self._retry_after) if self.is_connected else self._unavailable())

    def _send(self, entry: Entry) -> bool:
        """Put one call on the socket. False when the socket takes none now."""
        entry.id = next(self._ids).to_bytes(8, "big")
        if not self._connection.send(entry.id, entry.payload):
            return False
        entry.end_timer()
        entry.payload = b""
        now = self._loop.time()
        for part in entry.parts:
            part.sent_at = now
        entry.sent_at = now
        self._in_flight[entry.id] = entry
        entry.timer = self._loop.call_later(entry.deadline_s, self._timed_out, entry)
        self.counts["sent"] += 1
        return True

    def _send_waiting(self) -> None:
        sent = False
        while self._connection.is_connected and len(self._in_flight) < self.config.window:
            entry = self._waiting.popleft()
            if entry is None:
                break
            if entry.is_settled:  # Given up by its caller while it waited: it is not sent.
                entry.end_timer()
                self._waiting.left(entry)
                continue
            if not self._send(entry):
                self._waiting.left(entry)
                for part in reversed(entry.parts):
                    self._waiting.appendleft(part)
                break
            sent = True
        if sent:
            self._connection.look_for_replies()

    def _timed_out(self, entry: Entry) -> None:
        entry.timer = self._loop.call_later(_ZOMBIE_S, self._forget, entry)
        if not entry.is_settled:
            self.counts["timed_out"] += 1
            entry.fail(timed_out(entry))
            self._send_waiting()  # Reads wait for it no longer.

    def _forget(self, entry: Entry) -> None:
        if self._in_flight.pop(entry.id, None) is not None:
            self._waiting.left(entry)
        self._send_waiting()

    def on_idle(self) -> None:
        """Send what waits."""
        self._send_waiting()

    def on_reply(self, call_id: bytes, reply: bytes) -> None:
        """Hand a reply to its caller."""
        entry = self._in_flight.pop(call_id, None)
        if entry is None:
            self.counts["late"] += 1
            return
        entry.end_timer()
        self.rate.answered(entry.sent_at, self._loop.time(), len(entry.parts))
        try:
            if entry.is_settled:
                self.counts["late"] += 1
                return
            self.counts["answered"] += 1
            for again in reversed(entry.answer(self._to_json(reply))):
                self._waiting.appendleft(again)
                self._start_waiting(again)
        except msgspec.DecodeError as error:
            encoding = self.config.encoding
            entry.fail(GatewayError(f"RE Manager's reply is not {encoding}: {error}. Check [manager] encoding."))
        finally:
            self._waiting.left(entry)

    def on_disconnected(self) -> None:
        """Fail what was in flight."""
        for entry in list(self._in_flight.values()):
            self.counts["lost"] += 1
            self._waiting.left(entry)
            self._fail(entry, lost(entry))
        self._in_flight.clear()

    def _fail_all(self, make: Callable[[], GatewayError]) -> None:
        for entry in self._in_flight.values():
            self._waiting.left(entry)
            self._fail(entry, lost(entry))  # It was sent: RE Manager does it, whether or not we are there.
        self._in_flight.clear()
        while (waiting := self._waiting.popleft()) is not None:
            self._waiting.left(waiting)
            self._fail(waiting, make())

    def _fail(self, entry: Entry, error: GatewayError) -> None:
        entry.end_timer()
        entry.fail(error)
