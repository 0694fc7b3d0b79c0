"""The edit lock: who holds it is the only one, of all replicas, who looks at the queue and changes it by what was seen.

The rules of the lock in Redis:
1. It is a lease of `LEASE_S`, renewed while it is held, and let go of by who holds it only. Each process has one waiter
   in Redis at most; these take turns in the order in which they came.
2. Nothing is sent under a lease that may have ended (`renewal.py` says what is left).
3. What was sent may still be on its way when the lease is over (its holder was killed, or had no answer in time). Then
   it was not let go of cleanly, and the next holder is told so (`is_after_loss`): it waits until RE Manager has done
   whatever was sent before it looks at anything.
4. A Redis that forgets (a restart without `appendonly yes`) lets a second one in. The first notices when it renews.

Without Redis nobody holds it: those edits are refused with 503 (SharedStateAway). Everything else goes on.
"""

import asyncio
import itertools
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from sanic_qserver.errors import Overloaded
from sanic_qserver.shared_state.redis import SharedRedis, SharedStateAway
from sanic_qserver.shared_state.renewal import LEASE_MS, Renewal, read_clock

log = logging.getLogger("sanic_qserver.shared_state")

_NEXT_LOOKS_S = 0.004  # How often the first of those who wait looks.
_OTHERS_LOOK_S = 0.02
_FORGET_S = 0.5  # A waiter that did not look for so long is gone.

# KEYS: the lease, what was not let go of cleanly, the number, who waits, when they looked.
# ARGV: token, process, lease_ms, forget_ms. Gives a number and whether it is after a loss, or the place among waiters.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[5], '-inf', now - ARGV[4])) do
  redis.call('ZREM', KEYS[4], gone)
  redis.call('ZREM', KEYS[5], gone)
end
local first = redis.call('ZRANGE', KEYS[4], 0, 0)[1]
if redis.call('EXISTS', KEYS[1]) == 1 or (first and first ~= ARGV[2]) then
  redis.call('ZADD', KEYS[4], 'NX', time[1] * 1000000 + time[2], ARGV[2])
  redis.call('ZADD', KEYS[5], now, ARGV[2])
  return {0, redis.call('ZRANK', KEYS[4], ARGV[2])}
end
redis.call('ZREM', KEYS[4], ARGV[2])
redis.call('ZREM', KEYS[5], ARGV[2])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
local is_after_loss = redis.call('EXISTS', KEYS[2])
redis.call('SET', KEYS[2], ARGV[1])
return {redis.call('INCR', KEYS[3]), is_after_loss}
"""
# ARGV: token, process, '1' when all that was sent was answered.
_LET_GO = """
redis.call('ZREM', KEYS[4], ARGV[2])
redis.call('ZREM', KEYS[5], ARGV[2])
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return end
redis.call('DEL', KEYS[1])
if ARGV[3] == '1' then redis.call('DEL', KEYS[2]) end
"""


class Hold:
    """The lock, held.

    `number` grows with each holder. The holder sets `is_clean`: all that was sent under it, and before, has been done.
    """

    def __init__(self, lease: Renewal, number: int, *, is_after_loss: bool) -> None:
        self.lease = lease
        self.number = number
        self.is_after_loss = is_after_loss
        self.is_clean = False

    def may_send(self) -> bool:
        """Whether something may be sent still."""
        return self.lease.may_send()


class EditLock(Protocol):
    """One editor at a time."""

    def hold(self, wait_s: float) -> AbstractAsyncContextManager[Hold | None]:
        """Hold it while the body runs. None: alone, nobody can take it away. Raises Overloaded after `wait_s`."""
        ...


class MemoryEditLock:
    """For a process that is alone."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def hold(self, wait_s: float) -> AsyncIterator[None]:
        """See EditLock."""
        try:
            async with asyncio.timeout(wait_s):
                await self._lock.acquire()
        except TimeoutError:
            raise _too_long() from None
        try:
            yield
        finally:
            self._lock.release()


class RedisEditLock:
    """For replicas."""

    def __init__(self, shared: SharedRedis, clock: Callable[[], float] = read_clock) -> None:
        self._shared = shared
        self._clock = clock
        self._process = secrets.token_hex(8)
        self._numbers = itertools.count(1)
        self._here = MemoryEditLock()
        self._keys = [shared.key("edits", name) for name in ("lease", "loss", "number", "waiting", "looked")]
        self._take, self._let_go = map(shared.script, (_TAKE, _LET_GO))

    @asynccontextmanager
    async def hold(self, wait_s: float) -> AsyncIterator[Hold]:
        """See EditLock. Raises SharedStateAway when Redis is away: nothing was sent."""
        until = self._clock() + wait_s
        async with self._here.hold(wait_s):
            hold = await self._wait(until)
            try:
                yield hold
            finally:
                hold.lease.stop()
                await asyncio.shield(self._give_up(hold.lease.token, is_clean=hold.is_clean))

    async def _wait(self, until: float) -> Hold:
        token = f"{self._process}.{next(self._numbers)}"
        args = [token, self._process, LEASE_MS, int(_FORGET_S * 1000)]
        try:
            while True:
                asked_at = self._clock()
                number, more = await self._shared.ask(self._take(keys=self._keys, args=args))
                if number:
                    lease = Renewal(self._shared, self._keys[0], token, asked_at, self._clock)
                    return Hold(lease, number, is_after_loss=bool(more))
                if self._clock() >= until:
                    raise _too_long()
                await asyncio.sleep(_OTHERS_LOOK_S if more else _NEXT_LOOKS_S)
        except SharedStateAway:
            raise
        except BaseException:  # Too long, or the client is gone: it may have been given to us meanwhile.
            await asyncio.shield(self._give_up(token))
            raise

    async def _give_up(self, token: str, *, is_clean: bool = False) -> None:
        """Let go of it. When Redis cannot be told, it ends by itself."""
        try:
            await self._shared.ask(self._let_go(keys=self._keys, args=[token, self._process, str(int(is_clean))]))
        except SharedStateAway as error:
            log.warning("An edit lease is not let go of before its end: %s", error.detail)


def build_edit_lock(shared: SharedRedis | None) -> EditLock:
    """The lock of this process, or that of all replicas."""
    return MemoryEditLock() if shared is None else RedisEditLock(shared)


def _too_long() -> Overloaded:
    return Overloaded("Other edits of the queue take too long; nothing was sent", headers={"Retry-After": "1"})
