"""The connection to RE Manager: one DEALER socket with its monitor, its options, encryption and encoding."""

import asyncio
import contextlib
import logging
import os
import socket as sockets
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
import zmq
from zmq.utils.monitor import recv_monitor_message

from sanic_qserver.config.settings import ManagerConfig

log = logging.getLogger("sanic_qserver.manager")

RECONNECT_MS = 50
"""The interval between two tries to connect. It does not grow: a try costs nothing, and whoever waits for RE Manager to
come back would wait for the rest of a longer one."""
_CONNECT_TIMEOUT_MS = 1_000
_ABSENT_S = 1.0  # Without a connection for so long after the start, the log says so.
_DRAIN_AT_ONCE = 64  # Messages taken per wake-up before other tasks of the loop get their turn.
_MONITORED = (
    zmq.EVENT_CONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_DISCONNECTED
)


class ConnectionUser(Protocol):
    """Who is told what happens on a connection."""

    def on_reply(self, call_id: bytes, reply: bytes) -> None:
        """RE Manager answered a call."""
        ...

    def on_idle(self) -> None:
        """All replies that have come were handed over, or the connection is up: more can be sent."""
        ...

    def on_disconnected(self) -> None:
        """The connection is lost. Replies that came before were handed over."""
        ...


class Connection:
    """The socket on the running loop. It connects again and again, until it is closed."""

    def __init__(self, config: ManagerConfig, user: ConnectionUser) -> None:
        self.is_open = False
        self.is_connected = False
        self.last_failure = ""
        self._address = config.control_address
        self._config = config
        self._user = user
        self._is_itself = False

    def open(self) -> None:
        """Create the sockets and start connecting. RE Manager may be absent."""
        self._loop = asyncio.get_running_loop()
        self._context = zmq.Context()
        self._socket = _make_dealer(self._context, self._config)
        self._monitor = self._socket.get_monitor_socket(_MONITORED)
        self._socket_fd = int(self._socket.getsockopt(zmq.FD))
        self._monitor_fd = int(self._monitor.getsockopt(zmq.FD))
        self.is_open = True
        self._loop.add_reader(self._socket_fd, self._on_readable)
        self._loop.add_reader(self._monitor_fd, self._on_monitor)
        self._connect()
        self._absence = self._loop.call_later(_ABSENT_S, self._say_absent)
        self._on_monitor()

    def close(self) -> None:
        """Release the sockets."""
        self.is_open = self.is_connected = False
        self._absence.cancel()
        self._loop.remove_reader(self._socket_fd)
        self._loop.remove_reader(self._monitor_fd)
        # Explicitly and in this order: a context left to the garbage collector hung in Context.term (seen).
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close(0)
        self._context.term()

    def send(self, call_id: bytes, payload: bytes) -> bool:
        """Send one call. False when the socket takes none now."""
        try:
            self._socket.send_multipart((call_id, b"", payload), zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def look_for_replies(self) -> None:
        """To be called after sending: the descriptor is edge-triggered, a reply during a send would not wake us."""
        if int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            self._loop.call_soon(self._on_readable)

    def _on_readable(self) -> None:
        if not self.is_open:
            return
        for _ in range(_DRAIN_AT_ONCE):
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            self._user.on_reply(frames[0], frames[-1])
        else:
            self._loop.call_soon(self._on_readable)
        self._user.on_idle()

    def _on_monitor(self) -> None:
        while self.is_open and int(self._monitor.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            message = recv_monitor_message(self._monitor, zmq.NOBLOCK)
            event = message["event"]
            if event == zmq.EVENT_CONNECTED:
                self._is_itself = _is_connected_to_itself(int(message["value"]))
            elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._leave_itself() if self._is_itself else self._on_connected()
            elif event == zmq.EVENT_DISCONNECTED:
                self._on_disconnected()
            else:
                self.last_failure = "the security handshake failed: check [manager] public_key"

    def _on_connected(self) -> None:
        self.is_connected = True
        self.last_failure = ""
        log.info("Connected to RE Manager at %s", self._address)
        self._user.on_idle()

    def _on_disconnected(self) -> None:
        if self.is_connected:
            log.warning(
                "Connection to RE Manager at %s is lost. Calls are refused (503) until it is back", self._address
            )
        self.is_connected = False
        self._on_readable()  # Replies that came before the end are still in the socket.
        self._user.on_disconnected()

    def _leave_itself(self) -> None:
        """Give the port back that the connection has taken from RE Manager, and try again."""
        self.last_failure = "the connection met itself: the port lies in the range of source ports"
        log.warning("%s: %s. See docs/performance.md", self._address, self.last_failure)
        self._socket.disconnect(self._address)
        self._loop.call_later(RECONNECT_MS / 1000, self._connect)

    def _connect(self) -> None:
        if self.is_open:
            self._socket.connect(self._address)

    def _say_absent(self) -> None:
        if not self.is_connected:
            why = f" ({self.last_failure})" if self.last_failure else ""
            log.warning("RE Manager is not reachable at %s%s. Calls are refused (503) until it is", self._address, why)


def _make_dealer(context: "zmq.Context[zmq.Socket[bytes]]", config: ManagerConfig) -> "zmq.Socket[bytes]":
    """A DEALER socket, not connected yet."""
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    # Without it a call made while RE Manager is away is executed later behind everybody's back (verified).
    socket.setsockopt(zmq.IMMEDIATE, 1)
    reconnect_at_short_intervals(socket)
    # Notices a peer that vanished without closing (power, network). Long enough for a stopped process.
    socket.setsockopt(zmq.HEARTBEAT_IVL, 5_000)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 60_000)
    if config.public_key:
        public, secret = zmq.curve_keypair()
        socket.setsockopt(zmq.CURVE_SERVERKEY, config.public_key.encode("ascii"))
        socket.setsockopt(zmq.CURVE_PUBLICKEY, public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, secret)
    return socket


def reconnect_at_short_intervals(socket: "zmq.Socket[bytes]") -> None:
    """Try to connect every `RECONNECT_MS`, also to a machine that drops what is sent to it."""
    socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MS)  # Without it 0MQ adds up to as much again, at random.
    socket.setsockopt(zmq.CONNECT_TIMEOUT, _CONNECT_TIMEOUT_MS)


def _is_connected_to_itself(descriptor: int) -> bool:
    """Whether both ends of a TCP connection are the same one.

    That happens when nobody listens at a port of the ephemeral range on this machine: the kernel may choose this very
    port as the source of the connection (RFC 9293, simultaneous open).
    """
    with contextlib.suppress(OSError), sockets.socket(fileno=os.dup(descriptor)) as connection:
        return bool(connection.getsockname() == connection.getpeername())
    return False


def make_codec(encoding: str) -> tuple[Callable[[Any], bytes], Callable[[bytes], bytes]]:
    """The encoder of calls, and the decoder of replies into JSON (unchanged if they are JSON already)."""
    if encoding == "json":
        return msgspec.json.encode, bytes
    decode = msgspec.msgpack.Decoder().decode
    return msgspec.msgpack.encode, lambda reply: msgspec.json.encode(decode(reply))
