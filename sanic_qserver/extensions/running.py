"""The lifecycle of extensions: start, status updates, stop. Each call is isolated and has a time limit."""

import asyncio
import inspect
import logging
from collections.abc import Callable, Sequence
from typing import Any

from sanic_qserver.errors import GatewayError
from sanic_qserver.extensions.loading import Extensions
from sanic_qserver.extensions.watchdog import Watchdog
from sanic_qserver.manager.live.status_feed import Snapshot, StatusFeed
from sanic_qserver.middleware.hooks import Hook, Hooks, limited
from sanic_qserver.tasks import end_tasks
from sanic_qserver.threads import DaemonThreads

log = logging.getLogger("sanic_qserver.extensions")

START_LIMIT_S = 30.0
STOP_LIMIT_S = 2.0


class Running:
    """Starts and stops extensions. One for each application."""

    def __init__(self, loaded: Extensions) -> None:
        self.loaded = loaded
        self.settings = loaded.context.config
        self._threads = DaemonThreads()
        self._watch: asyncio.Task[None] | None = None
        self._newest: Snapshot | None = None
        self._is_new = asyncio.Event()
        self._end_following: Callable[[], None] = lambda: None
        self._watchdog = Watchdog(loaded.files, self.settings.blocked_after_s)

    def hooks(self) -> Hooks:
        """The submission hooks of all extensions."""
        return Hooks(
            before=self.loaded.all("before_submit"),
            after=self.loaded.all("after_submit"),
            timeout_s=self.settings.hook_timeout_s,
            threads=self._threads,
        )

    async def start(self, status: StatusFeed) -> list[str]:
        """Call every `on_start`, then follow the status. Returns what failed, for `/readyz`."""
        if not self.loaded.contributions:
            return []
        import httpx  # noqa: PLC0415  # 0.1 s that a server without extensions saves

        self.loaded.context.http = httpx.AsyncClient(timeout=10)
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
        await end_tasks(self._watch)
        for hook in reversed(self.loaded.all("on_stop")):
            await self._call(hook, STOP_LIMIT_S)
        self._watchdog.stop()
        if self.loaded.context.http is not None:
            await self.loaded.context.http.aclose()

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
        """Tell listeners the newest status. A slow listener skips intermediate ones, and nobody waits for it."""
        while True:
            await self._is_new.wait()
            self._is_new.clear()
            if self._newest is not None:
                values = self._newest.values
                calls = [self._call(hook, self.settings.hook_timeout_s, dict(values)) for hook in listeners]
                await asyncio.gather(*calls)
