"""Whether the Redis of the replicas is there, keeps what it is told, and whether all replicas have the same keys.

For `/readyz` and the log.
"""

import asyncio
import logging
import secrets
from collections.abc import Mapping, Sequence

import msgspec

from sanic_qserver.config.replicas import find_disagreement
from sanic_qserver.shared_state.redis import SharedRedis, SharedStateAway
from sanic_qserver.tasks import end_tasks

log = logging.getLogger("sanic_qserver.shared_state")

_LOOK_S = 1.0
EVICTS = "[replicas] redis: its maxmemory-policy is '{}'. It must be noeviction: what is evicted is done a second time"
FORGETS = "[replicas] redis: it does not write what it is told (appendonly no). A restart forgets what replicas share"
DISAGREES = "{}: another replica has another one. Who is let in there is not let in here"

# KEYS: what replicas say of themselves, when. ARGV: replica, what it says. Gives what all say that live.
_TELL = """
local time = redis.call('TIME')
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', time[1] - 5)) do
  redis.call('HDEL', KEYS[1], gone)
  redis.call('ZREM', KEYS[2], gone)
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], time[1], ARGV[1])
return redis.call('HVALS', KEYS[1])
"""
_decode = msgspec.json.Decoder(dict[str, list[str]]).decode


class RedisWatch:
    """Asks once a second. `warnings` get what is wrong with its settings, until it is put right.

    `fingerprints` are those of the keys that all replicas must have (`config/replicas.py`).
    """

    def __init__(self, shared: SharedRedis, warnings: list[str], fingerprints: Mapping[str, Sequence[str]]) -> None:
        self.is_away = False
        self._ours = fingerprints
        self._says = [secrets.token_hex(8), msgspec.json.encode(fingerprints)]
        self._tell_all = shared.script(_TELL)
        self._keys = [shared.key("replicas", name) for name in ("say", "seen")]
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
        await end_tasks(self._task)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            await self._look()

    async def _look(self) -> None:
        try:
            said = await self._shared.ask(self._tell_all(keys=self._keys, args=self._says))
        except SharedStateAway as error:
            if not self.is_away:
                log.error(  # noqa: TRY400
                    "%s: is it running, and is [replicas] redis right? Changes that need it are refused, reads go on",
                    error.detail,
                )
            self.is_away = True
            return
        if self.is_away:
            log.warning("The Redis that replicas share answers again")
        self.is_away = False
        differ = {setting for one in said for setting in find_disagreement(self._ours, _decode(one))}
        self._tell([*await self._find_mistakes(), *map(DISAGREES.format, sorted(differ))])

    async def _find_mistakes(self) -> list[str]:
        """What is wrong with its settings. A Redis that does not tell them is believed."""
        try:
            memory = await self._shared.ask(self._shared.client.info("memory"))
            persistence = await self._shared.ask(self._shared.client.info("persistence"))
        except SharedStateAway:
            return []
        policy = memory.get("maxmemory_policy", "noeviction")
        wrong = [EVICTS.format(policy)] if policy != "noeviction" else []
        return wrong if persistence.get("aof_enabled", 1) else [*wrong, FORGETS]

    def _tell(self, wrong: list[str]) -> None:
        for text in wrong:
            if text not in self._told:
                log.warning("%s", text)
                self._warnings.append(text)
        for text in self._told:
            if text not in wrong and text in self._warnings:
                self._warnings.remove(text)
        self._told = wrong
