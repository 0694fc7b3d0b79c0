"""Follows RE Manager for all replicas while this one holds the lease: what a server that is alone does for itself.

It begins with the stored states as its last look, so that the log goes on where another follower left it, and follows
all topics. When RE Manager does not answer it, another replica tries. What RE Manager publishes is listened to all the
time, by every replica: that costs RE Manager no call, and the console output that came while the follower before was
dying is not lost.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic

import msgspec

from sanic_qserver.config.settings import LiveConfig
from sanic_qserver.manager.console.output import decode_message
from sanic_qserver.manager.live.broadcaster import Broadcaster
from sanic_qserver.manager.live.event_log import TOPICS
from sanic_qserver.manager.live.lines import join_lines
from sanic_qserver.manager.live.shared.mirror import Mirror
from sanic_qserver.manager.live.shared.recorder import Recorder
from sanic_qserver.manager.live.shared.states import ALL, Look, resume
from sanic_qserver.manager.live.shared.store import LogStore, Refused
from sanic_qserver.manager.live.state import StateTracker
from sanic_qserver.manager.live.status_feed import StatusFeed
from sanic_qserver.manager.live.subscriber import Message
from sanic_qserver.manager.publications import CONSOLE, Publications
from sanic_qserver.manager.read_cache import ReadCache
from sanic_qserver.shared_state.lease import StandAside
from sanic_qserver.shared_state.redis import SharedStateAway

_FOLLOWED = frozenset(TOPICS) - {"proposals"}
_TOUCH_S = 3600.0
_FINISH_S = 0.15  # The lease is lost soon.
_CONNECT_S = 3.0
_AWAY_S = 5.0
_RECENT = 5000
_RECENT_S = 10.0


class Follower:
    """`follow(fence)` is the work of a lease."""

    def __init__(
        self, config: LiveConfig, publications: Publications, reads: ReadCache, store: LogStore, mirror: Mirror
    ) -> None:
        self._config = config
        self._publications = publications
        self._reads = reads
        self._store = store
        self._mirror = mirror
        self._recent: deque[tuple[float, bytes]] = deque(maxlen=_RECENT)

    def open(self) -> None:
        """Listen to RE Manager."""
        self._publications.open()
        self._publications.listen(self._hear)

    def close(self) -> None:
        """Stop listening."""
        self._publications.close()

    def _hear(self, topic: str, payload: bytes) -> None:
        if topic == CONSOLE:
            self._recent.append((monotonic(), payload))

    async def follow(self, fence: int) -> None:
        """Follow until cancelled. Raises SharedStateAway, or Refused when the lease was lost unnoticed."""
        try:
            async with asyncio.timeout(_CONNECT_S):
                await self._mirror.connected.wait()
        except TimeoutError:
            raise StandAside("it cannot read the log") from None
        stored = await self._store.states(ALL)
        relayed = await self._store.relayed("relay:console", len(self._recent))
        console = Broadcaster(self._config, prepare=join_lines)
        status = StatusFeed(self._config, self._publications, lambda: self._reads.coalesce("status"))
        recorder = Recorder(self._config, self._store, stored.epoch, fence)
        tracker = StateTracker(self._config, recorder, status, self._reads, console)
        known = resume(tracker, stored.bodies)
        recorder.record(lambda: Look(status.current, tracker.queue, tracker.history, tracker.runs, tracker.lock), known)
        with contextlib.ExitStack() as ends:
            ends.callback(status.close)
            ends.callback(tracker.close)
            ends.callback(status.follow(lambda _: recorder.change()))
            ends.callback(tracker.on_look(recorder.change))
            await self._run(ends, recorder, tracker, status, lambda: self._relay(recorder, console, status, relayed))

    def _relay(
        self, recorder: Recorder, console: Broadcaster, status: StatusFeed, relayed: list[bytes]
    ) -> Callable[[], None]:
        """Relay what RE Manager publishes, beginning with what came lately and nobody relayed.

        Output of the console is relayed in the same step as the events made of it, which the tracker publishes.
        """
        heard: list[bytes] = []

        def hear(topic: str, payload: bytes) -> None:
            if topic == CONSOLE:
                heard.append(payload)
                console.publish((Message("console", payload),))

        def hear_console(_: Sequence[Message]) -> None:
            for payload in heard:
                recorder.relay("relay:console", payload)
            heard.clear()

        def hear_info(messages: Sequence[Message]) -> None:
            for message in messages:
                recorder.relay("relay:info", message.body)

        console.listen(hear_console)
        status.info.listen(hear_info)
        for payload in self._not_relayed(relayed):
            hear(CONSOLE, payload)
        return self._publications.listen(hear)

    def _not_relayed(self, relayed: list[bytes]) -> list[bytes]:
        """The console output since the last that was relayed; of the last seconds, if none ever was."""
        if not relayed:
            return [payload for at, payload in self._recent if monotonic() - at < _RECENT_S]
        known, last = set(relayed), _time_of(relayed[0])
        return [payload for _, payload in self._recent if payload not in known and _time_of(payload) >= last]

    async def _run(
        self,
        ends: contextlib.ExitStack,
        recorder: Recorder,
        tracker: StateTracker,
        status: StatusFeed,
        relay: Callable[[], Callable[[], None]],
    ) -> None:
        works = (recorder.run(), tracker.want(_FOLLOWED), self._keep_touching(), _stand_aside_from(status))
        tasks = [asyncio.ensure_future(work) for work in works]
        try:
            await asyncio.sleep(0)  # The tracker listens from now on.
            ends.callback(relay())
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        except asyncio.CancelledError:
            with contextlib.suppress(SharedStateAway, Refused, TimeoutError):
                async with asyncio.timeout(_FINISH_S):
                    await recorder.finish()
            raise
        finally:
            for task in tasks:
                task.cancel()

    async def _keep_touching(self) -> None:
        while True:
            await self._store.touch()
            await asyncio.sleep(_TOUCH_S)


async def _stand_aside_from(status: StatusFeed) -> None:
    """Raises StandAside when RE Manager has not answered for a while: perhaps it does answer another replica."""
    since = monotonic()
    while monotonic() - since < _AWAY_S:
        await asyncio.sleep(_AWAY_S / 5)
        since = since if status.is_away else monotonic()
    raise StandAside("RE Manager does not answer it")


def _time_of(payload: bytes) -> float:
    try:
        return decode_message(payload).time
    except msgspec.MsgspecError:
        return 0.0
