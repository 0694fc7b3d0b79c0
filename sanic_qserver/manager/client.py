"""The RE Manager client: one DEALER socket, several calls in flight, each with its own deadlines.

The rules:
1. RE Manager is serial. At most `window` calls are on the socket; the others wait in our own bounded queue.
2. A call that was not sent may be refused safely: 503 when the queue is full, when it waited longer than
   `queue_wait_s`, or when there is no connection.
3. A call that was sent has a deadline of its own: 408, and if it changes something, its outcome is unknown.
4. A call that timed out keeps its place in the window until its late reply comes (and is dropped) or the
   connection dies: a manager that hangs gets at most `window` calls to execute when it wakes up.
5. When the connection dies, what was in flight fails at once. Nothing is ever sent twice.
"""

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
import zmq
from zmq.utils.monitor import recv_monitor_message

from sanic_qserver.config import ManagerConfig
from sanic_qserver.errors import GatewayError, ManagerLost, ManagerTimeout, ManagerUnavailable, Overloaded, ShuttingDown
from sanic_qserver.manager.methods import READS, deadline_s

log = logging.getLogger("sanic_qserver.manager")

_DRAIN_AT_ONCE = 64  # Replies taken per wake-up before other tasks of the loop get their turn.
_ZOMBIE_S = 600.0  # A place in the window is given back after this, should a reply be lost without a disconnect.
_WATCHED = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_DISCONNECTED
)


class Entry:
    """One call on its way: waiting, then in flight."""

    __slots__ = ("deadline_s", "future", "id", "method", "payload", "timer")

    def __init__(self, method: str, payload: bytes, deadline: float, future: "asyncio.Future[bytes]") -> None:
        self.id = b""
        self.method = method
        self.payload = payload
        self.deadline_s = deadline
        self.future = future
        self.timer: asyncio.TimerHandle | None = None


class Waiting(Protocol):
    """The order in which waiting calls are sent."""

    def __len__(self) -> int: ...
    def append(self, entry: Entry, /) -> None:
        """Put a call at the end of its line."""
        ...

    def appendleft(self, entry: Entry, /) -> None:
        """Put a call back that could not be sent yet."""
        ...

    def popleft(self) -> Entry:
        """The call whose turn it is."""
        ...


class ManagerClient:
    """Calls RE Manager. `open` and `close` it on the running loop; `request` is all that others need."""

    def __init__(self, config: ManagerConfig, waiting: Waiting | None = None) -> None:
        self.config = config
        self.is_connected = False
        self.last_failure = ""
        self.counts = {"sent": 0, "answered": 0, "timed_out": 0, "lost": 0, "late": 0, "refused": 0}
        self._waiting: Waiting = deque() if waiting is None else waiting
        self._in_flight: dict[bytes, Entry] = {}
        self._ids = itertools.count(1)
        self._is_open = False
        self._disconnected_at = 0.0
        self._encode, self._to_json = _codec(config.encoding)

    def open(self) -> None:
        """Create the sockets and start connecting. RE Manager may be absent; it is tried for again and again."""
        self._loop = asyncio.get_running_loop()
        self._context = zmq.Context()
        self._socket = _dealer(self._context, self.config)
        self._monitor = self._socket.get_monitor_socket(_WATCHED)
        self._socket_fd = int(self._socket.getsockopt(zmq.FD))
        self._monitor_fd = int(self._monitor.getsockopt(zmq.FD))
        self._disconnected_at = self._loop.time()
        self._is_open = True
        self._loop.add_reader(self._socket_fd, self._on_readable)
        self._loop.add_reader(self._monitor_fd, self._on_monitor)
        self._socket.connect(self.config.control_address)
        self._on_monitor()

    async def close(self) -> None:
        """Fail what is under way and release the sockets."""
        if not self._is_open:
            return
        self._is_open = False
        self._loop.remove_reader(self._socket_fd)
        self._loop.remove_reader(self._monitor_fd)
        self._fail_all(ShuttingDown)
        # Explicitly and in this order: a context left to the garbage collector hung in Context.term (seen).
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close(0)
        self._context.term()

    @property
    def waiting_count(self) -> int:
        """Calls that were not sent yet."""
        return len(self._waiting)

    @property
    def in_flight_count(self) -> int:
        """Calls that were sent and not answered, late ones included."""
        return len(self._in_flight)

    async def request(self, method: str, params: Any = None, *, deadline_s: float | None = None) -> bytes:
        """Send one call and wait for RE Manager's reply: a JSON object, as bytes.

        Raises ManagerTimeout or ManagerLost (it was sent: the outcome is unknown), Overloaded,
        ManagerUnavailable or ShuttingDown (it was not sent).
        """
        return await self.submit(method, params, deadline_s=deadline_s)

    def submit(self, method: str, params: Any = None, *, deadline_s: float | None = None) -> "asyncio.Future[bytes]":
        """As `request`, but returns at once with the future of the reply. Calls are sent in the order of submission."""
        if not self._is_open:
            raise ShuttingDown("The connection to RE Manager is closed")
        self._refuse_when_hopeless()
        payload = self._encode({"method": method, "params": {} if params is None else params})
        entry = Entry(method, payload, deadline_s or _deadline(method, self.config), self._loop.create_future())
        if self.is_connected and not self._waiting and len(self._in_flight) < self.config.window and self._send(entry):
            self._after_send()
            return entry.future
        self._waiting.append(entry)
        entry.timer = self._loop.call_later(self.config.queue_wait_s, self._waited_too_long, entry)
        return entry.future

    def _refuse_when_hopeless(self) -> None:
        if len(self._waiting) >= self.config.queue_limit:
            self.counts["refused"] += 1
            raise Overloaded(
                f"{len(self._waiting)} calls wait for RE Manager already; this one was not sent",
                headers={"Retry-After": "1"},
            )
        if not self.is_connected and self._loop.time() - self._disconnected_at > self.config.queue_wait_s:
            self.counts["refused"] += 1
            raise self._unavailable()

    def _unavailable(self) -> ManagerUnavailable:
        why = f" ({self.last_failure})" if self.last_failure else ""
        return ManagerUnavailable(
            f"There is no connection to RE Manager at {self.config.control_address}{why}; the call was not sent",
            headers={"Retry-After": "2"},
        )

    def _waited_too_long(self, entry: Entry) -> None:
        if entry.future.done():
            return
        self.counts["refused"] += 1
        if self.is_connected:
            entry.future.set_exception(
                Overloaded(
                    f"The call waited {self.config.queue_wait_s:g} s for RE Manager and was not sent",
                    headers={"Retry-After": "2"},
                )
            )
        else:
            entry.future.set_exception(self._unavailable())

    def _send(self, entry: Entry) -> bool:
        """Put one call on the socket. False when the socket takes none now."""
        entry.id = next(self._ids).to_bytes(8, "big")
        try:
            self._socket.send_multipart((entry.id, b"", entry.payload), zmq.NOBLOCK)
        except zmq.Again:
            return False
        if entry.timer is not None:
            entry.timer.cancel()
        entry.payload = b""
        self._in_flight[entry.id] = entry
        entry.timer = self._loop.call_later(entry.deadline_s, self._timed_out, entry)
        self.counts["sent"] += 1
        return True

    def _send_waiting(self) -> None:
        sent = False
        while self._waiting and self.is_connected and len(self._in_flight) < self.config.window:
            entry = self._waiting.popleft()
            if entry.future.done():  # Refused or given up by its caller while it waited: it is not sent.
                if entry.timer is not None:
                    entry.timer.cancel()
                continue
            if not self._send(entry):
                self._waiting.appendleft(entry)
                break
            sent = True
        if sent:
            self._after_send()

    def _after_send(self) -> None:
        # The descriptor is edge-triggered: a reply that came during a send would not wake us.
        if int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            self._loop.call_soon(self._on_readable)

    def _timed_out(self, entry: Entry) -> None:
        entry.timer = self._loop.call_later(_ZOMBIE_S, self._forget, entry)
        if not entry.future.done():
            self.counts["timed_out"] += 1
            entry.future.set_exception(
                ManagerTimeout(
                    f"Request timeout: RE Manager did not answer '{entry.method}' within {entry.deadline_s:g} s"
                    + _outcome(entry.method)
                )
            )

    def _forget(self, entry: Entry) -> None:
        self._in_flight.pop(entry.id, None)
        self._send_waiting()

    def _on_readable(self) -> None:
        if not self._is_open:
            return
        for _ in range(_DRAIN_AT_ONCE):
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            self._on_reply(frames)
        else:
            self._loop.call_soon(self._on_readable)
        self._send_waiting()

    def _on_reply(self, frames: list[bytes]) -> None:
        entry = self._in_flight.pop(frames[0], None)
        if entry is None:
            self.counts["late"] += 1
            return
        if entry.timer is not None:
            entry.timer.cancel()
        if entry.future.done():
            self.counts["late"] += 1
            return
        self.counts["answered"] += 1
        try:
            entry.future.set_result(self._to_json(frames[-1]))
        except msgspec.DecodeError as error:
            entry.future.set_exception(
                GatewayError(f"RE Manager's reply is not {self.config.encoding}: {error}. Check [manager] encoding.")
            )

    def _on_monitor(self) -> None:
        while self._is_open and int(self._monitor.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            event = recv_monitor_message(self._monitor, zmq.NOBLOCK)["event"]
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._connected()
            elif event == zmq.EVENT_DISCONNECTED:
                self._disconnected()
            else:
                self.last_failure = "the security handshake failed: check [manager] public_key"

    def _connected(self) -> None:
        self.is_connected = True
        self.last_failure = ""
        log.info("Connected to RE Manager at %s", self.config.control_address)
        self._send_waiting()

    def _disconnected(self) -> None:
        if self.is_connected:
            self._disconnected_at = self._loop.time()
            log.warning("Connection to RE Manager at %s is lost", self.config.control_address)
        self.is_connected = False
        # Replies that came before the end are still in the socket.
        self._on_readable()
        for entry in list(self._in_flight.values()):
            self.counts["lost"] += 1
            self._fail(
                entry,
                ManagerLost(
                    f"Request timeout: the connection to RE Manager was lost before it answered '{entry.method}'"
                    + _outcome(entry.method)
                ),
            )
        self._in_flight.clear()

    def _fail_all(self, make: Callable[[], GatewayError]) -> None:
        while self._waiting:
            self._fail(self._waiting.popleft(), make())
        for entry in self._in_flight.values():
            self._fail(entry, make())
        self._in_flight.clear()

    def _fail(self, entry: Entry, error: GatewayError) -> None:
        if entry.timer is not None:
            entry.timer.cancel()
        if not entry.future.done():
            entry.future.set_exception(error)


_deadline = deadline_s


def _outcome(method: str) -> str:
    return "" if method in READS else ". The outcome is unknown: look at the state before trying again"


def _dealer(context: "zmq.Context[zmq.Socket[bytes]]", config: ManagerConfig) -> "zmq.Socket[bytes]":
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    # Without it a call made while RE Manager is away is executed later behind everybody's back (verified).
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.setsockopt(zmq.RECONNECT_IVL, 100)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
    # Notices a peer that vanished without closing (power, network). Long enough for a stopped process.
    socket.setsockopt(zmq.HEARTBEAT_IVL, 5_000)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 60_000)
    if config.public_key:
        public, secret = zmq.curve_keypair()
        socket.setsockopt(zmq.CURVE_SERVERKEY, config.public_key.encode("ascii"))
        socket.setsockopt(zmq.CURVE_PUBLICKEY, public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, secret)
    return socket


def _codec(encoding: str) -> tuple[Callable[[Any], bytes], Callable[[bytes], bytes]]:
    """How a call is encoded, and how a reply becomes JSON (unchanged, if it is JSON already)."""
    if encoding == "json":
        return msgspec.json.encode, bytes
    decode = msgspec.msgpack.Decoder().decode
    return msgspec.msgpack.encode, lambda reply: msgspec.json.encode(decode(reply))
