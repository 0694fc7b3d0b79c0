"""The socket to RE Manager and what goes over it: options, encryption, encoding."""

from collections.abc import Callable
from typing import Any

import msgspec
import zmq

from sanic_qserver.config import ManagerConfig

WATCHED = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_DISCONNECTED
)
"""Events of the connection monitor."""


def dealer(context: "zmq.Context[zmq.Socket[bytes]]", config: ManagerConfig) -> "zmq.Socket[bytes]":
    """A DEALER socket, not connected yet."""
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


def codec(encoding: str) -> tuple[Callable[[Any], bytes], Callable[[bytes], bytes]]:
    """How a call is encoded, and how a reply becomes JSON (unchanged, if it is JSON already)."""
    if encoding == "json":
        return msgspec.json.encode, bytes
    decode = msgspec.msgpack.Decoder().decode
    return msgspec.msgpack.encode, lambda reply: msgspec.json.encode(decode(reply))
