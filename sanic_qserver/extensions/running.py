"""The life of loaded modules: start, RE Manager's status while they run, stop. Each step contained, with a limit."""

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Sequence
from typing import Any

import httpx
import msgspec

from sanic_qserver.endpoints.hooks import Hook, Hooks, limited
from sanic_qserver.endpoints.threads import DaemonThreads
from sanic_qserver.errors import GatewayError
from sanic_qserver.extensions.loading import Extensions
from sanic_qserver.extensions.watchdog import Watchdog

log = logging.getLogger("sanic_qserver.extensions")

STATUS_PERIOD_S = 1.0
START_LIMIT_S = 30.0
STOP_LIMIT_S = 2.0


class Running:
    """Opens and closes what loaded modules need. One an application."""

    def __init__(self, loaded: Extensions) -> None:
        self.loaded = loaded
        self.settings = loaded.surroundings.config
        self._threads = DaemonThreads()
        self._watch: asyncio.Task[None] | None = None
        self._watchdog = Watchdog(loaded.files, self.settings.blocked_after_s)

    def hooks(self) -> Hooks:
        """The hooks around submissions, of all modules."""
        return Hooks(
            before=self.loaded.all("before_submit"),
            after=self.loaded.all("after_submit"),
            timeout_s=self.settings.hook_timeout_s,
            threads=self._threads,
        )

    async def start(self) -> list[str]:
        """Call every `on_start`, then watch the status. Returns what failed, for `/readyz`."""
        if not self.loaded.contributions:
            return []
        self.loaded.surroundings.http = httpx.AsyncClient(timeout=10)
        self._watchdog.start()
        failures = [text for hook in self.loaded.all("on_start") if (text := await self._call(hook, START_LIMIT_S))]
        if listeners := self.loaded.all("on_status"):
            self._watch = asyncio.create_task(self._watch_status(listeners))
        return failures

    async def stop(self) -> None:
        """Call every `on_stop`, in reverse order, and release everything."""
        if not self.loaded.contributions:
            return
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

    async def _watch_status(self, listeners: Sequence[Hook]) -> None:
        """Ask for the status once a second, and tell the listeners what is new. Publications may be switched off."""
        known = None
        while True:
            with contextlib.suppress(GatewayError):
                status: dict[str, Any] = msgspec.json.decode(await self.loaded.surroundings.manager.request("status"))
                if status.get("status_uid") != known:
                    known = status.get("status_uid")
                    calls = [self._call(hook, self.settings.hook_timeout_s, dict(status)) for hook in listeners]
                    await asyncio.gather(*calls)
            await asyncio.sleep(STATUS_PERIOD_S)
