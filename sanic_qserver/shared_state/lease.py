"""A lease: of all replicas one does a work, and another one takes over when it dies.

The rules:
1. The holder renews the lease long before it ends. When it cannot, it stops its work *before* the lease can end for
   others: the time is counted from before the question was sent, on a clock that nobody sets.
2. Each holder has a number, the fence, which is greater than all before it. Whoever was stopped longer than its lease
   without noticing (SIGSTOP, a paused virtual machine) is found out by it: what the work writes must be refused, within
   the same atomic step, unless the fence is still the newest.
3. An orderly stop gives the lease back at once. After a kill it ends by itself, within `TTL_S`.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable
from time import monotonic

from sanic_qserver.errors import GatewayError
from sanic_qserver.shared_state.redis import SharedRedis, SharedStateAway
from sanic_qserver.tasks import end_tasks

log = logging.getLogger("sanic_qserver.replicas")

TTL_S = 1.5
_RENEW_S = 0.4
_RETRY_S = 0.2
_MARGIN_S = 0.2  # The work needs this to stop.
_ASIDE_S = 1.0  # Others have tried by then.

# KEYS: lease, fence. ARGV: owner, ttl_ms. Gives the fence, or 0 when somebody else holds it.
_ACQUIRE = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return redis.call('INCR', KEYS[2])
"""
_RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"

Work = Callable[[int], Awaitable[None]]


class LeaseLost(Exception):
    """Somebody else holds the lease, or it is not known whether it is still held."""


class StandAside(Exception):
    """The work cannot be done here: raised by it, to let another replica try."""


def fence_key(redis: SharedRedis, name: str) -> str:
    """Where the newest fence of a lease is."""
    return redis.key(name, "fence")


class Lease:
    """Does `work(fence)` while this process holds the lease. What it raises, or its end, gives the lease back.

    `work` is cancelled when the lease is lost, and must end within 0.2 s then. `is_held` says whether it runs.
    """

    def __init__(self, redis: SharedRedis, name: str, work: Work) -> None:
        self.is_held = False
        self.gained_count = 0
        self.lost_count = 0
        self._keys = [redis.key(name, "lease"), fence_key(redis, name)]
        self._owner = os.urandom(8).hex()
        self._redis = redis
        self._work = work
        self._acquire, self._renew, self._release = map(redis.script, (_ACQUIRE, _RENEW, _RELEASE))
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Try to get it from now on."""
        self._task = asyncio.get_running_loop().create_task(self._keep_trying())

    async def close(self) -> None:
        """Stop the work, and give the lease back for others to take at once."""
        await end_tasks(self._task)
        self._task = None

    async def _keep_trying(self) -> None:
        while True:
            asked_at = monotonic()
            try:
                fence = await self._redis.ask(self._acquire(keys=self._keys, args=[self._owner, int(TTL_S * 1000)]))
            except SharedStateAway:
                fence = 0
            pause_s = await self._hold(int(fence), asked_at) if fence else _RETRY_S
            await asyncio.sleep(pause_s)

    async def _hold(self, fence: int, asked_at: float) -> float:
        """Do the work until it ends or the lease is lost. Gives the time until the next try."""
        log.info("This replica follows RE Manager from now on (lease %d)", fence)
        self.is_held = True
        self.gained_count += 1
        task = asyncio.ensure_future(self._work(fence))
        try:
            await self._keep_renewing(task, asked_at)
        except StandAside as why:
            log.warning("This replica lets another one follow RE Manager (lease %d): %s", fence, why)
            return _ASIDE_S
        except LeaseLost as why:
            self.lost_count += 1
            log.warning("This replica does not follow RE Manager any longer (lease %d): %s", fence, why)
        except GatewayError as why:
            self.lost_count += 1
            log.warning("This replica cannot follow RE Manager (lease %d): %s", fence, why)
            return _ASIDE_S
        except Exception:  # An edge: nobody else would hear of it, and another replica may do better.
            self.lost_count += 1
            log.exception("Following RE Manager failed (lease %d)", fence)
            return _ASIDE_S
        finally:
            await end_tasks(task)
            self.is_held = False
            with contextlib.suppress(SharedStateAway, TimeoutError):
                async with asyncio.timeout(_RENEW_S):
                    await self._redis.ask(self._release(keys=self._keys[:1], args=[self._owner]))
        return _RETRY_S

    async def _keep_renewing(self, task: "asyncio.Future[None]", asked_at: float) -> None:
        """Until the work ends, or the lease is lost. Raises LeaseLost, or what the work raises."""
        ends_at = asked_at + TTL_S - _MARGIN_S
        while True:
            await asyncio.wait((task,), timeout=min(_RENEW_S, max(0.0, ends_at - monotonic())))
            if task.cancelled():
                raise LeaseLost("its work was cancelled")
            if task.done():
                return task.result()
            asked_at = monotonic()
            if asked_at >= ends_at:
                raise LeaseLost("it could not be renewed in time")
            try:
                async with asyncio.timeout(ends_at - asked_at):
                    answer = self._renew(keys=self._keys[:1], args=[self._owner, int(TTL_S * 1000)])
                    if not await self._redis.ask(answer):
                        raise LeaseLost("another replica has it")
            except (SharedStateAway, TimeoutError):
                continue  # As long as there is time.
            ends_at = asked_at + TTL_S - _MARGIN_S
