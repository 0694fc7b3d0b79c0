"""What RE Manager publishes: one SUB socket, each message handed to listeners as JSON bytes.

RE Manager's default is `--zmq-publish-console OFF`: then the socket is not even bound and nothing ever arrives.
Everything but the console must work without it.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

import msgspec
import zmq

from sanic_qserver.config.settings import ManagerConfig
from sanic_qserver.manager.client.transport import reconnect_at_short_intervals

log = logging.getLogger("sanic_qserver.manager")

CONSOLE = "QS_Console"
INFO = "QS_Info"
Listener = Callable[[str, bytes], None]
_DRAIN_AT_ONCE = 200


class PublicationSource(Protocol):
    """What RE Manager publishes, wherever it comes from. `heard_at` is when it last did; 0 for never."""

    @property
    def heard_at(self) -> float:
        """When RE Manager was last heard here, by the loop's clock."""
        ...

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each message from now on. Returns the function that ends it."""
        ...


class Publications:
    """Calls each listener with (topic, payload). The payload is JSON: `{"time": …, "msg": …}`.

    `heard_at` is the loop time of the last message, 0 before the first.
    """

    def __init__(self, config: ManagerConfig) -> None:
        self.config = config
        self.heard_at = 0.0
        self._listeners: list[Listener] = []
        self._is_open = False

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each message from now on. Returns the function that ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def open(self) -> None:
        """Subscribe. The publisher may be absent; it is tried for again and again."""
        self._loop = asyncio.get_running_loop()
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        reconnect_at_short_intervals(self._socket)
        self._socket.setsockopt(zmq.RCVHWM, 100_000)
        for topic in (CONSOLE, INFO):
            self._socket.subscribe(topic)
        self._socket.connect(self.config.info_address)
        self._fd = int(self._socket.getsockopt(zmq.FD))
        self._is_open = True
        self._loop.add_reader(self._fd, self._on_readable)
        self._on_readable()

    def close(self) -> None:
        """Release the socket."""
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._fd)
            self._socket.close(0)
            self._context.term()

    def _on_readable(self) -> None:
        if not self._is_open:
            return
        for _ in range(_DRAIN_AT_ONCE):
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self.heard_at = self._loop.time()
            if len(frames) == 2:
                self._tell(frames[0].decode("latin-1"), frames[1])
        self._loop.call_soon(self._on_readable)

    def _tell(self, topic: str, payload: bytes) -> None:
        if self.config.encoding == "msgpack":
            try:
                payload = msgspec.json.encode(msgspec.msgpack.decode(payload))
            except msgspec.MsgspecError as error:
                log.warning("A published message is not msgpack: %s. Check [manager] encoding.", error)
                return
        for listener in tuple(self._listeners):
            listener(topic, payload)
