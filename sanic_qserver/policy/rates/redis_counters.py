"""Rate counters in Redis, shared by workers and machines: the moving window of the `limits` library.

The rules:
1. One limit is charged in one atomic step. With several limits an attempt that a later one refuses was charged against
   the earlier ones: the counters may over-count, and never admit more than a limit.
2. The time is the worker's: machines that share a Redis need synchronised clocks (NTP).
3. A Redis that does not answer within `TIMEOUT_S` is unavailable (CountersUnavailable), and is not asked again for
   `PAUSE_S`, so that not every request waits for it.
4. A Redis that lost its data has forgotten the counts. Each worker also counts what it admitted itself.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from sanic_qserver.errors import ConfigError
from sanic_qserver.policy.rates.counters import Charge, CountersUnavailable, LimitExceeded, LimitState

TIMEOUT_S = 1.0
PAUSE_S = 3.0
CONNECTIONS = 64


class RedisCounters:
    """Counters in Redis, under names that begin with a prefix. Connects on first use."""

    def __init__(self, url: str, prefix: str = "qserver") -> None:
        """Raises ConfigError for a URL that is none, or when the library is not installed."""
        self._prefix = prefix
        self._pool, self._storage = _connect(url)
        self._away_until = 0.0
        self.failure_count = 0

    async def take(self, asked: Sequence[Charge]) -> LimitExceeded | list[LimitState]:
        """Charge every limit, if none is exhausted. Raises CountersUnavailable."""
        if time.monotonic() < self._away_until:
            raise CountersUnavailable
        try:
            async with asyncio.timeout(3 * TIMEOUT_S):
                return await self._take(asked)
        except Exception as error:  # The library's errors have no common base class.
            self.failure_count += 1
            self._away_until = time.monotonic() + PAUSE_S
            raise CountersUnavailable(type(error).__name__) from error

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.aclose()

    async def _take(self, asked: Sequence[Charge]) -> LimitExceeded | list[LimitState]:
        left = []
        for number, charge in enumerate(asked):
            key, window_s = "/".join((self._prefix, *charge.key, f"{charge.window_s:g}")), int(charge.window_s)
            is_charged = await self._storage.acquire_entry(key, charge.limit, window_s, charge.cost)
            oldest_at, count = await self._storage.get_moving_window(key, charge.limit, window_s)
            reset_s = max(0.0, oldest_at + window_s - time.time())
            if not is_charged:
                return LimitExceeded(number, float("inf") if charge.cost > charge.limit else reset_s)
            left.append(LimitState(max(0, charge.limit - int(count)), reset_s))
        return left


def _connect(url: str) -> tuple[Any, Any]:
    try:
        from limits.aio.storage import RedisStorage  # noqa: PLC0415  # only who uses Redis needs it

        from sanic_qserver.shared_state.pool import FreshPool  # noqa: PLC0415
    except ImportError:
        raise ConfigError("[policy] counters: Redis needs the extra: pip install 'sanic-qserver[redis]'") from None
    try:
        pool = FreshPool.from_url(
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
