"""A short lease on a key in Redis, renewed for as long as its work goes on: calls are sent under it, or not any more.

RE Manager cannot check who holds a lease, so the holder does: `may_send` is asked when a call goes onto the socket, and
says no from `MARGIN_S` before the lease's end on (time in which the machine sleeps counts). What is left is a process
that is stopped for longer than that between the check and the send: a few microseconds of each call.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from sanic_qserver.shared_state.redis import SharedRedis, SharedStateAway

log = logging.getLogger("sanic_qserver.shared_state")

LEASE_S = 3.0
LEASE_MS = int(LEASE_S * 1000)
MARGIN_S = 0.5
_RENEW_S = LEASE_S / 4

_RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""


def read_clock() -> float:
    """Seconds, those included in which the machine sleeps, where the system counts them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Renewal:
    """Keeps a lease that was taken: `key` holds `token`. `taken_at`: before it was asked for, on the clock."""

    def __init__(
        self, shared: SharedRedis, key: str, token: str, taken_at: float, clock: Callable[[], float] = read_clock
    ) -> None:
        self.token = token
        self._shared = shared
        self._key = key
        self._clock = clock
        self._until = taken_at + LEASE_S
        self._renew = shared.script(_RENEW)
        self._task = asyncio.get_running_loop().create_task(self._keep_renewing())

    def may_send(self) -> bool:
        """Whether the lease holds for long enough to send something."""
        return self._clock() < self._until - MARGIN_S

    def stop(self) -> None:
        """Renew it no more."""
        self._task.cancel()

    async def _keep_renewing(self) -> None:
        while True:
            await asyncio.sleep(_RENEW_S)
            asked_at = self._clock()
            try:
                is_held = await self._shared.ask(self._renew(keys=[self._key], args=[self.token, LEASE_MS]))
            except SharedStateAway as error:
                log.warning("A lease was not renewed (%s): %s", self._key, error.detail)
                continue
            if not is_held:
                log.warning("A lease was lost (%s): nothing is sent under it any more", self._key)
                self._until = asked_at
                return
            self._until = asked_at + LEASE_S
