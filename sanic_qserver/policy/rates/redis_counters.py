"""Counting under limits in Redis, for several workers and machines: the moving window of the `limits` library.

The rules:
1. One limit is counted exactly, in one atomic step. With several limits the earlier ones have counted an attempt
   that a later one refuses: what is let through is never more.
2. The time is that of the worker: machines that share a Redis need clocks that agree (NTP).
3. Redis that does not answer within `TIMEOUT_S` (long enough for a busy machine) is away: CountersUnavailable. It is
   left alone for `PAUSE_S` then, so that not every request waits.
4. Redis that restarted without its data has forgotten what was counted. Each worker remembers what it let through.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from sanic_qserver.errors import ConfigError
from sanic_qserver.policy.rates.counters import CountersUnavailable, Left, Refused, Taking

TIMEOUT_S = 1.0
PAUSE_S = 3.0
CONNECTIONS = 64


class RedisCounters:
    """Counters in a Redis. Connects at the first use."""

    def __init__(self, url: str) -> None:
        """Raises ConfigError for a URL that is none, or when the library is not installed."""
        self._url = url
        self._pool, self._storage = _connect(url)
        self._away_until = 0.0
        self.failure_count = 0

    async def take(self, asked: Sequence[Taking]) -> Refused | list[Left]:
        """Take the places if there is room. Raises CountersUnavailable."""
        if time.monotonic() < self._away_until:
            raise CountersUnavailable
        try:
            async with asyncio.timeout(3 * TIMEOUT_S):
                return await self._take(asked)
        except Exception as error:  # The library's errors have no common base: whatever it is, nothing is known.
            self.failure_count += 1
            self._away_until = time.monotonic() + PAUSE_S
            raise CountersUnavailable(type(error).__name__) from error

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.aclose()

    async def _take(self, asked: Sequence[Taking]) -> Refused | list[Left]:
        left = []
        for number, taking in enumerate(asked):
            key, window_s = "/".join(("qserver", *taking.key, f"{taking.window_s:g}")), int(taking.window_s)
            has_room = await self._storage.acquire_entry(key, taking.limit, window_s, taking.cost)
            oldest_at, count = await self._storage.get_moving_window(key, taking.limit, window_s)
            reset_s = max(0.0, oldest_at + window_s - time.time())
            if not has_room:
                return Refused(number, float("inf") if taking.cost > taking.limit else reset_s)
            left.append(Left(max(0, taking.limit - int(count)), reset_s))
        return left


def _connect(url: str) -> tuple[Any, Any]:
    try:
        from limits.aio.storage import RedisStorage  # noqa: PLC0415  # only who uses Redis needs it
        from redis.asyncio import BlockingConnectionPool  # noqa: PLC0415
    except ImportError:
        raise ConfigError("[policy] counters: Redis needs the extra: pip install 'sanic-qserver[redis]'") from None
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=2 * TIMEOUT_S,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
        )
        options: dict[str, Any] = {"implementation": "redispy", "connection_pool": pool}
        return pool, RedisStorage(f"async+{url}", **options)
    except Exception as error:  # the libraries raise what they like; the URL may hold a password
        raise ConfigError(f"[policy] counters: the URL is not one of a Redis ({type(error).__name__})") from None
