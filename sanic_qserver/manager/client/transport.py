"""The socket to RE Manager and what goes over it: options, encryption, encoding."""

import contextlib
import os
import socket as sockets
from collections.abc import Callable
from typing import Any

import msgspec
import zmq

from sanic_qserver.config.settings import ManagerConfig

WATCHED = (
    zmq.EVENT_CONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_DISCONNECTED
)
"""Events of the connection monitor."""

RECONNECT_MS = 50
"""The interval between two tries to connect. It does not grow: a try costs nothing, and who waits for RE Manager to
come back would wait for the rest of a longer one."""
_CONNECT_TIMEOUT_MS = 1_000


def dealer(context: "zmq.Context[zmq.Socket[bytes]]", config: ManagerConfig) -> "zmq.Socket[bytes]":
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


def is_connected_to_itself(descriptor: int) -> bool:
    """Whether both ends of a TCP connection are the same one.

    That happens when nobody listens at a port of the ephemeral range on this machine: the kernel may choose this very
    port as the source of the connection (RFC 9293, simultaneous open).
    """
    with contextlib.suppress(OSError), sockets.socket(fileno=os.dup(descriptor)) as connection:
        return bool(connection.getsockname() == connection.getpeername())
    return False


def codec(encoding: str) -> tuple[Callable[[Any], bytes], Callable[[bytes], bytes]]:
    """How a call is encoded, and how a reply becomes JSON (unchanged, if it is JSON already)."""
    if encoding == "json":
        return msgspec.json.encode, bytes
    decode = msgspec.msgpack.Decoder().decode
    return msgspec.msgpack.encode, lambda reply: msgspec.json.encode(decode(reply))
