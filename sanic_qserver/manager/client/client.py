"""The RE Manager client: one DEALER socket, several calls in flight, each with its own deadlines.

The rules:
1. RE Manager is serial. At most `window` calls are in flight; the others wait in our own bounded queue.
2. A call that was not sent may be refused safely: 503 when the queue is full or when it waited longer than
   `queue_wait_s`, for its turn or for a connection. When it is full, the caller with most calls in it gives one up.
3. A call that was sent has a deadline of its own: 408, and if it changes something, its outcome is unknown.
4. A call that timed out keeps its slot in the window until its late reply comes (and is dropped) or the
   connection dies: a manager that hangs gets at most `window` calls to execute when it wakes up.
5. When the connection dies, what was in flight fails at once. Nothing is ever sent twice.
"""

import asyncio
import itertools
import logging
import math
from collections.abc import Callable
from time import perf_counter
from typing import Any

import msgspec

from sanic_qserver.config.settings import ManagerConfig, SubmissionsConfig
from sanic_qserver.errors import GatewayError, ManagerUnavailable, ShuttingDown
from sanic_qserver.manager.client.batching import make_batcher
from sanic_qserver.manager.client.call import SENDING, CallQueue, QueuedCall
from sanic_qserver.manager.client.failures import lease_ended, lost, timed_out, too_many, unavailable, waited
from sanic_qserver.manager.client.methods import deadline_s
from sanic_qserver.manager.client.scheduler import FairScheduler
from sanic_qserver.manager.client.timeline import TIMELINE
from sanic_qserver.manager.client.transport import Connection, make_codec

log = logging.getLogger("sanic_qserver.manager")

_WEIGHT = 0.05  # Of the newest call in the mean: about the last 20 count.
_ZOMBIE_S = 600.0  # A slot of the window is free again after this, should a reply be lost without a disconnect.
_deadline = deadline_s


class Rate:
    """The mean time that RE Manager takes for a call; it does one after the other."""

    def __init__(self) -> None:
        self._service_s = 0.01
        self._answered_at = 0.0

    def answered(self, sent_at: float, now: float, calls: int) -> None:
        """A reply came, for so many calls that were sent together. Times are the loop's, in seconds."""
        took_s = now - max(self._answered_at, sent_at)
        self._answered_at = now
        self._service_s += _WEIGHT * (took_s / calls - self._service_s)

    @property
    def calls_per_s(self) -> float:
        """Calls that are answered in a second while some wait."""
        return 1 / max(self._service_s, 1e-6)

    def retry_after(self, waiting_count: int) -> str:
        """Whole seconds (1 to 60) until so many queued calls will have been answered."""
        return str(max(1, min(60, math.ceil(waiting_count * self._service_s))))


class ManagerClient:
    """Calls RE Manager. `open` and `close` it on the running loop; `request` is all that others need."""

    def __init__(self, config: ManagerConfig, submissions: SubmissionsConfig | None = None) -> None:
        self.config = config
        self.counts = {"sent": 0, "answered": 0, "timed_out": 0, "lost": 0, "late": 0, "refused": 0}
        self._encode, self._to_json = make_codec(config.encoding)
        self._batches = submissions is not None and submissions.group_commit
        self._waiting: CallQueue = FairScheduler(
            make_batcher(self._encode, self._to_json),
            at_once=max(1, config.window // 2),
            max_batch=submissions.max_batch if submissions is not None else 1,
        )
        self.rate = Rate()
        self._in_flight: dict[bytes, QueuedCall] = {}
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
        self, method: str, params: Any = None, *, deadline_s: float | None = None, fairness_key: str = ""
    ) -> bytes:
        """Send one call and wait for RE Manager's reply: a JSON object, as bytes.

        Raises ManagerTimeout or ManagerLost (it was sent: the outcome is unknown), Overloaded,
        ManagerUnavailable or ShuttingDown (it was not sent).
        """
        return await self.submit(method, params, deadline_s=deadline_s, fairness_key=fairness_key)

    def submit(
        self, method: str, params: Any = None, *, deadline_s: float | None = None, fairness_key: str = ""
    ) -> "asyncio.Future[bytes]":
        """As `request`, but returns at once with the future of the reply.

        `fairness_key` names the caller. Calls with the same key are sent in the order of submission (reads and writes
        separately); different keys take turns.
        """
        return self.call(method, params, deadline_s=deadline_s, fairness_key=fairness_key).future

    def call(
        self, method: str, params: Any = None, *, deadline_s: float | None = None, fairness_key: str = ""
    ) -> QueuedCall:
        """As `submit`, but returns the call itself, which knows whether it was sent."""
        self._make_room(fairness_key)
        payload = self._encode({"method": method, "params": {} if params is None else params})
        deadline = deadline_s or _deadline(method, self.config)
        call = QueuedCall(method, payload, deadline, self._loop.create_future(), fairness_key)
        self._wait(call)
        return call

    def add(self, item: Any, user: Any, user_group: Any, *, fairness_key: str = "") -> "asyncio.Future[bytes]":
        """Add one item at the back of the queue, batched with adds that wait next to it."""
        method = "queue_item_add"
        params = {"item": item, "user": user, "user_group": user_group}
        if not self._batches:
            return self.submit(method, params, fairness_key=fairness_key)
        self._make_room(fairness_key)
        params["item"] = encoded = msgspec.Raw(self._encode(item))
        payload = self._encode({"method": method, "params": params})
        call = QueuedCall(method, payload, _deadline(method, self.config), self._loop.create_future(), fairness_key)
        call.submission = (encoded, user, user_group)
        call.batch_key = (user, user_group)
        self._wait(call)
        return call.future

    def _wait(self, call: QueuedCall) -> None:
        if (timeline := TIMELINE.get()) is not None:
            timeline.note(call)
        self._waiting.append(call)
        self._send_waiting()
        if call.is_queued:  # Neither sent at once nor refused.
            self._start_waiting(call)

    def _start_waiting(self, call: QueuedCall) -> None:
        call.timer = self._loop.call_later(self.config.queue_wait_s, self._waited_too_long, call)

    def _make_room(self, fairness_key: str) -> None:
        """When the queue is full, refuse this call, or the newest one of the caller with most calls in it."""
        if not self._connection.is_open:
            raise ShuttingDown("The connection to RE Manager is closed")
        if len(self._waiting) < self.config.queue_limit:
            return
        self.counts["refused"] += 1
        displaced = self._waiting.displace(fairness_key)
        if displaced is None and (sending := SENDING.get()) is not None and sending.since is not None:
            displaced = self._waiting.displace_newer(fairness_key)
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

    def _waited_too_long(self, call: QueuedCall) -> None:
        self._waiting.drop(call)
        if call.is_settled:
            return
        self.counts["refused"] += 1
        call.fail(waited(self.config.queue_wait_s, self._retry_after) if self.is_connected else self._unavailable())

    def _send(self, call: QueuedCall) -> bool:
        """Put one call on the socket. False when the socket takes none now."""
        call.id = next(self._ids).to_bytes(8, "big")
        if not self._connection.send(call.id, call.payload):
            return False
        call.end_timer()
        call.payload = b""
        now = self._loop.time()
        call.sent_at = now
        for part in call.parts:
            part.mark_sent(now)
        self._in_flight[call.id] = call
        call.timer = self._loop.call_later(call.deadline_s, self._timed_out, call)
        self.counts["sent"] += 1
        return True

    def _send_waiting(self) -> None:
        sent = False
        while self._connection.is_connected and len(self._in_flight) < self.config.window:
            call = self._waiting.popleft()
            if call is None:
                break
            if call.is_settled:  # Its caller gave up while it was queued: it is not sent.
                call.end_timer()
                self._waiting.left(call)
                continue
            if call.is_void:
                self._leave_void(call)
                continue
            if not self._send(call):
                self._waiting.left(call)
                for part in reversed(call.parts):
                    self._waiting.appendleft(part)
                break
            sent = True
        if sent:
            self._connection.look_for_replies()

    def _leave_void(self, call: QueuedCall) -> None:
        """Refuse what must not be sent any more; what was to go with it waits again."""
        self._waiting.left(call)
        for part in reversed(call.parts):
            if part.is_void:
                self._fail(part, lease_ended())
            else:
                self._waiting.appendleft(part)

    def _timed_out(self, call: QueuedCall) -> None:
        call.timer = self._loop.call_later(_ZOMBIE_S, self._forget, call)
        if not call.is_settled:
            self.counts["timed_out"] += 1
            call.fail(timed_out(call))
            self._send_waiting()  # Reads wait for it no longer.

    def _forget(self, call: QueuedCall) -> None:
        if self._in_flight.pop(call.id, None) is not None:
            self._waiting.left(call)
        self._send_waiting()

    def on_idle(self) -> None:
        """Send what waits."""
        self._send_waiting()

    def on_reply(self, call_id: bytes, reply: bytes) -> None:
        """Give a reply to its caller."""
        call = self._in_flight.pop(call_id, None)
        if call is None:
            self.counts["late"] += 1
            return
        call.end_timer()
        for part in call.parts:
            part.mark_answered()
        self.rate.answered(call.sent_at, self._loop.time(), len(call.parts))
        now = perf_counter()
        for part in call.parts:
            part.answered_at = now
        try:
            if call.is_settled:
                self.counts["late"] += 1
                return
            self.counts["answered"] += 1
            for again in reversed(call.answer(self._to_json(reply))):
                self._waiting.appendleft(again)
                self._start_waiting(again)
        except msgspec.DecodeError as error:
            encoding = self.config.encoding
            call.fail(GatewayError(f"RE Manager's reply is not {encoding}: {error}. Check [manager] encoding."))
        finally:
            self._waiting.left(call)

    def on_disconnected(self) -> None:
        """Fail what was in flight."""
        for call in list(self._in_flight.values()):
            self.counts["lost"] += 1
            self._waiting.left(call)
            self._fail(call, lost(call))
        self._in_flight.clear()

    def _fail_all(self, make: Callable[[], GatewayError]) -> None:
        for call in self._in_flight.values():
            self._waiting.left(call)
            self._fail(call, lost(call))  # It was sent: RE Manager does it, whether or not we are there.
        self._in_flight.clear()
        while (waiting := self._waiting.popleft()) is not None:
            self._waiting.left(waiting)
            self._fail(waiting, make())

    def _fail(self, call: QueuedCall, error: GatewayError) -> None:
        call.end_timer()
        call.fail(error)
