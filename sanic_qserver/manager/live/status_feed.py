"""The status of RE Manager, followed while somebody subscribes: from its publications, and by polling.

Publications are fast and may be off, late or lost; so RE Manager is asked as well: once a second while it publishes,
every `poll_s` when it does not. Only the newest status counts, whichever way it came.
Source: RE Manager 0.0.25 gives every new status a `status_uid` and a `time`, in replies and publications alike.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from sanic_qserver.config.settings import LiveConfig
from sanic_qserver.errors import GatewayError
from sanic_qserver.manager.live.broadcaster import Broadcaster
from sanic_qserver.manager.live.subscriber import Message
from sanic_qserver.manager.publications import INFO, PublicationSource

log = logging.getLogger("sanic_qserver.manager")

_SILENT_S = 2.5  # RE Manager publishes once a second: silent for longer, it does not publish.
_OLDER_S = 2.0
_REPEAT_S = 1.0  # The status goes to the classic websockets at least this often.
_MAX_PAUSE_S = 1.0


class Snapshot(msgspec.Struct, frozen=True):
    """One status: `raw` as RE Manager sent it, and its members."""

    raw: bytes
    values: dict[str, Any]

    @property
    def uid(self) -> str:
        """Changes whenever the status does."""
        return str(self.values.get("status_uid"))


class _Info(msgspec.Struct):
    time: float
    msg: dict[str, msgspec.Raw]


_decode_info = msgspec.json.Decoder(_Info).decode
_decode_status = msgspec.json.Decoder(dict[str, Any]).decode
Follower = Callable[[Snapshot | None], None]


class StatusFeed:
    """Tells followers each new status; None when RE Manager stops answering. Asks only while there are followers.

    `info` is the channel of the classic websockets: topics `status` and `info`.
    """

    def __init__(
        self, config: LiveConfig, publications: PublicationSource, ask: Callable[[], Awaitable[bytes]]
    ) -> None:
        self.current: Snapshot | None = None
        self.info = Broadcaster(config)
        self._config = config
        self._publications = publications
        self._ask = ask
        self._followers: list[Follower] = []
        self._task: asyncio.Task[None] | None = None
        self._end_listening: Callable[[], None] = lambda: None
        self._heard_at = -math.inf
        self._framed_at = -math.inf
        self._accepted_at = -math.inf
        self._reply = b""
        self._looked = asyncio.Event()

    def follow(self, follower: Follower) -> Callable[[], None]:
        """Tell `follower` of each new status from now on. Returns the function that ends it."""
        self._followers.append(follower)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._keep_asking())
            self._end_listening = self._publications.listen(self._hear)

        def end() -> None:
            if follower in self._followers:
                self._followers.remove(follower)
            if not self._followers:
                self.close()

        return end

    def close(self) -> None:
        """Stop asking. The next follower starts again."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
            self._end_listening()
        self.current = None
        self._reply = b""
        self._looked.clear()

    async def look(self) -> Snapshot | None:
        """The status, asked for now; None when RE Manager does not answer."""
        try:
            reply = await self._ask()
            if reply is not self._reply:  # Decoded once for all who share it.
                self._accept(msgspec.Raw(reply), is_reply=True)
            self._reply = reply
        except (GatewayError, msgspec.MsgspecError) as error:
            log.debug("No status: %s", error)
            self._lost()
        self._looked.set()
        return self.current

    @property
    def is_away(self) -> bool:
        """Whether RE Manager is polled, and did not answer the last time."""
        return self._task is not None and self._looked.is_set() and self.current is None

    async def first(self) -> Snapshot | None:
        """The current status, asked for when it is not known yet."""
        return self.current or await self.look()

    async def _keep_asking(self) -> None:
        while True:
            await self.look()
            publishes = time.monotonic() - self._heard_at < _SILENT_S
            if not publishes:
                self._repeat_frame()
            pause_s = _MAX_PAUSE_S if publishes else min(self._config.poll_s, _MAX_PAUSE_S)
            await asyncio.sleep(pause_s)

    def _hear(self, topic: str, payload: bytes) -> None:
        if topic != INFO:
            return
        try:
            info = _decode_info(payload)
        except msgspec.MsgspecError:
            return
        status = info.msg.get("status")
        self.info.publish([Message("info" if status is None else "status", payload)])
        if status is not None:
            self._heard_at = self._framed_at = time.monotonic()
            self._accept(status, is_reply=False)

    def _accept(self, raw: msgspec.Raw, *, is_reply: bool) -> None:
        snapshot = Snapshot(bytes(raw), _decode_status(raw))
        current = self.current
        if current is not None:
            if snapshot.uid == current.uid:
                return
            # Older than what has come the other way meanwhile: ignored. But a clock may be set back, or RE Manager
            # restarted: an older reply is accepted once nothing newer has come for a while.
            is_older = str(snapshot.values.get("time")) < str(current.values.get("time"))
            if is_older and (not is_reply or time.monotonic() - self._accepted_at < _OLDER_S):
                return
        self.current, self._accepted_at = snapshot, time.monotonic()
        if time.monotonic() - self._heard_at >= _SILENT_S:
            self._frame()
        self._tell(snapshot)

    def _lost(self) -> None:
        self._reply = b""
        if self.current is not None or not self._looked.is_set():
            self.current = None
            self._tell(None)

    def _tell(self, snapshot: Snapshot | None) -> None:
        for follower in tuple(self._followers):
            follower(snapshot)

    def _frame(self) -> None:
        """Put the status into the form in which RE Manager publishes it, for the classic websockets."""
        if self.current is not None:
            self._framed_at = time.monotonic()
            body = b'{"time":%.7f,"msg":{"status":%b}}' % (time.time(), self.current.raw)
            self.info.publish([Message("status", body)])

    def _repeat_frame(self) -> None:
        if time.monotonic() - self._framed_at >= _REPEAT_S - self._config.poll_s / 2:
            self._frame()

    def frame_now(self) -> Message | None:
        """The current status as a message, for a new subscriber."""
        if self.current is None:
            return None
        body = b'{"time":%.7f,"msg":{"status":%b}}' % (time.time(), self.current.raw)
        return Message("status", body)
