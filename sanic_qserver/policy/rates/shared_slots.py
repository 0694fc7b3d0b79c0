"""Concurrency slots of all replicas, in the Redis that they share: for each rule and caller a set of leases.

The rules:
1. Slots are taken under all rules in one step, or under none. Each worker renews its own together; those of a worker
   that was killed are free after `LEASE_S`.
2. Each worker counts its own too (`concurrency.py`), and asks Redis only for what its own count allows.
3. When Redis is away, each worker's own count is what counts, as for rates: a limit of slots protects the server, and
   reads go on. What was taken meanwhile is written down when Redis is back, so that it is counted then.
"""

import asyncio
import itertools
import logging
import secrets
import time
from collections.abc import Iterable, Sequence
from typing import Any

from sanic_qserver.shared_state.redis import SharedRedis, SharedStateAway
from sanic_qserver.tasks import end_tasks

log = logging.getLogger("sanic_qserver.policy")

LEASE_S = 5.0
_RENEW_S = LEASE_S / 4
_PAUSE_S = 3.0  # A Redis that did not answer is not asked again so soon: not every request waits for it.
_AT_ONCE = 500  # Leases that one step renews: each takes Redis some microseconds.

# KEYS: the sets. ARGV: who takes, lease_ms, the most of each. Gives the number of the set that is full, or 0.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for number, key in ipairs(KEYS) do
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  if redis.call('ZCARD', key) >= tonumber(ARGV[number + 2]) then return number end
end
for _, key in ipairs(KEYS) do
  redis.call('ZADD', key, now + ARGV[2], ARGV[1])
  redis.call('PEXPIRE', key, ARGV[2])
end
return 0
"""
# KEYS: the sets. ARGV: lease_ms, who has a slot in each.
_RENEW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for number, key in ipairs(KEYS) do
  redis.call('ZADD', key, now + ARGV[1], ARGV[number + 1])
  redis.call('PEXPIRE', key, ARGV[1])
end
"""
# KEYS: the sets. ARGV: who had a slot in each.
_FREE = "for number, key in ipairs(KEYS) do redis.call('ZREM', key, ARGV[number]) end"

Wanted = Sequence[tuple[tuple[str, str], int]]


class SharedSlots:
    """The slots of this worker, among those of all."""

    def __init__(self, shared: SharedRedis) -> None:
        self._shared = shared
        self._worker = secrets.token_hex(8)
        self._numbers = itertools.count(1)
        self._held: dict[str, list[str]] = {}  # Who holds (one request or stream): the sets.
        self._freed: dict[str, list[str]] = {}
        self._take, self._renew, self._free = map(shared.script, (_TAKE, _RENEW, _FREE))
        self._away_until = 0.0
        self._renewing: asyncio.Task[None] | None = None
        self._freeing: asyncio.Task[None] | None = None

    async def take(self, wanted: Wanted) -> str | int:
        """The holder, for `give_back`; or the index of the limit that is reached. Admits when Redis is away."""
        holder = f"{self._worker}.{next(self._numbers)}"
        keys = [self._shared.key("slots", *key) for key, _ in wanted]
        full = 0
        if time.monotonic() >= self._away_until:
            try:
                args = [holder, int(LEASE_S * 1000), *(most for _, most in wanted)]
                full = await self._shared.ask(self._take(keys=keys, args=args))
            except SharedStateAway as error:
                self._away_until = time.monotonic() + _PAUSE_S
                log.warning("Concurrency slots are counted by each worker for itself: %s", error.detail)
            except BaseException:  # It may have been done.
                self._let_go(holder, keys)
                raise
        if full:
            return full - 1
        self._held[holder] = keys
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.get_running_loop().create_task(self._keep_renewing())
        return holder

    def give_back(self, holder: str) -> None:
        """The slots are free again, in a moment. Twice is harmless."""
        if (keys := self._held.pop(holder, None)) is not None:
            self._let_go(holder, keys)

    async def close(self) -> None:
        """Give everything back."""
        await end_tasks(self._renewing, self._freeing)
        self._freed |= self._held
        self._held = {}
        await self._tell(self._free, self._freed.items(), [])

    def _let_go(self, holder: str, keys: list[str]) -> None:
        self._freed[holder] = keys
        if self._freeing is None or self._freeing.done():
            self._freeing = asyncio.get_running_loop().create_task(self._keep_freeing())

    async def _keep_freeing(self) -> None:
        while self._freed:
            freed, self._freed = self._freed, {}
            await self._tell(self._free, freed.items(), [])  # Else they end by themselves.

    async def _keep_renewing(self) -> None:
        while self._held:
            await asyncio.sleep(_RENEW_S)
            await self._tell(self._renew, list(self._held.items()), [int(LEASE_S * 1000)])

    async def _tell(self, script: Any, holders: Iterable[tuple[str, list[str]]], args: list[Any]) -> None:
        pairs = [(key, holder) for holder, keys in holders for key in keys]
        for start in range(0, len(pairs), _AT_ONCE):
            part = pairs[start : start + _AT_ONCE]
            try:
                answer = script(keys=[key for key, _ in part], args=[*args, *(holder for _, holder in part)])
                await self._shared.ask(answer)
            except SharedStateAway:
                return
