"""Whether the Redis of the replicas is there, and whether it keeps what it is told: for `/readyz` and the log."""

import asyncio
import logging

from sanic_qserver.shared_state.redis import SharedRedis, SharedStateAway

log = logging.getLogger("sanic_qserver.shared_state")

_LOOK_S = 1.0
EVICTS = "[replicas] redis: its maxmemory-policy is '{}'. It must be noeviction: what is evicted is done a second time"
FORGETS = "[replicas] redis: it does not write what it is told (appendonly no). A restart forgets what replicas share"


class RedisWatch:
    """Asks once a second. `warnings` get what is wrong with its settings, until it is put right."""

    def __init__(self, shared: SharedRedis, warnings: list[str]) -> None:
        self.is_away = False
        self._shared = shared
        self._warnings = warnings
        self._told: list[str] = []
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Look once, and go on looking. A Redis that is away does not stop a start: reads can be served."""
        await self._look()
        self._task = asyncio.create_task(self._keep_looking())

    async def stop(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            await self._look()

    async def _look(self) -> None:
        try:
            memory = await self._shared.ask(self._shared.client.info("memory"))
            persistence = await self._shared.ask(self._shared.client.info("persistence"))
        except SharedStateAway as error:
            if not self.is_away:
                log.error("%s: changes that need it are refused, reads go on", error.detail)  # noqa: TRY400
            self.is_away = True
            return
        if self.is_away:
            log.warning("The Redis that replicas share answers again")
        self.is_away = False
        policy = memory.get("maxmemory_policy", "noeviction")
        wrong = [EVICTS.format(policy)] if policy != "noeviction" else []
        if not persistence.get("aof_enabled", 1):
            wrong.append(FORGETS)
        self._tell(wrong)

    def _tell(self, wrong: list[str]) -> None:
        for text in wrong:
            if text not in self._told:
                log.warning("%s", text)
                self._warnings.append(text)
        for text in self._told:
            if text not in wrong and text in self._warnings:
                self._warnings.remove(text)
        self._told = wrong
