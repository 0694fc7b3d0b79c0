"""The life of loaded modules: start, RE Manager's status while they run, stop. Each step contained, with a limit."""

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Callable, Sequence
from typing import Any

from sanic_qserver.errors import GatewayError
from sanic_qserver.extensions.loading import Extensions
from sanic_qserver.extensions.watchdog import Watchdog
from sanic_qserver.manager.live.status_feed import Snapshot, StatusFeed
from sanic_qserver.middleware.hooks import Hook, Hooks, limited
from sanic_qserver.threads import DaemonThreads

log = logging.getLogger("sanic_qserver.extensions")

START_LIMIT_S = 30.0
STOP_LIMIT_S = 2.0


class Running:
    """Opens and closes what loaded modules need. One an application."""

    def __init__(self, loaded: Extensions) -> None:
        self.loaded = loaded
        self.settings = loaded.surroundings.config
        self._threads = DaemonThreads()
        self._watch: asyncio.Task[None] | None = None
        self._newest: Snapshot | None = None
        self._is_new = asyncio.Event()
        self._end_following: Callable[[], None] = lambda: None
        self._watchdog = Watchdog(loaded.files, self.settings.blocked_after_s)

    def hooks(self) -> Hooks:
        """The hooks around submissions, of all modules."""
        return Hooks(
            before=self.loaded.all("before_submit"),
            after=self.loaded.all("after_submit"),
            timeout_s=self.settings.hook_timeout_s,
            threads=self._threads,
        )

    async def start(self, status: StatusFeed) -> list[str]:
        """Call every `on_start`, then watch the status. Returns what failed, for `/readyz`."""
        if not self.loaded.contributions:
            return []
        import httpx  # noqa: PLC0415  # a tenth of a second that a server without modules does not need

        self.loaded.surroundings.http = httpx.AsyncClient(timeout=10)
        self._watchdog.start()
        failures = [text for hook in self.loaded.all("on_start") if (text := await self._call(hook, START_LIMIT_S))]
        if listeners := self.loaded.all("on_status"):
            self._watch = asyncio.create_task(self._tell_status(listeners))
            self._end_following = status.follow(self._on_status)
        return failures

    async def stop(self) -> None:
        """Call every `on_stop`, in reverse order, and release everything."""
        if not self.loaded.contributions:
            return
        self._end_following()
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        for hook in reversed(self.loaded.all("on_stop")):
            await self._call(hook, STOP_LIMIT_S)
        self._watchdog.stop()
        if self.loaded.surroundings.http is not None:
            await self.loaded.surroundings.http.aclose()

    async def _call(self, hook: Hook, limit_s: float, *args: Any) -> str:
        """Call a hook. Returns what went wrong, or nothing."""

        async def run() -> None:
            result = hook.function(*args)
            if inspect.isawaitable(result):
                await result

        try:
            await limited(hook, limit_s, run, self._threads)
        except GatewayError as error:
            return error.detail
        return ""

    def _on_status(self, snapshot: Snapshot | None) -> None:
        if snapshot is not None:
            self._newest = snapshot
            self._is_new.set()

    async def _tell_status(self, listeners: Sequence[Hook]) -> None:
        """Tell the listeners the newest status: one that is slow misses what came in between, and nobody waits."""
        while True:
            await self._is_new.wait()
            self._is_new.clear()
            if self._newest is not None:
                values = self._newest.values
                calls = [self._call(hook, self.settings.hook_timeout_s, dict(values)) for hook in listeners]
                await asyncio.gather(*calls)
