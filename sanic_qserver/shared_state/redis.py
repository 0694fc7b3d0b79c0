"""The Redis that replicas share: one bounded pool, one prefix for all names, and one error when it is away.

Nothing here tries twice: what was sent and not answered may have been done. Each caller says what that means for it.
A pooled connection that Redis has closed meanwhile is replaced before anything is sent: see `pool`.
Redis must not evict (`maxmemory-policy noeviction`) and should write what it is told (`appendonly yes`).
"""

import asyncio
from collections.abc import Awaitable
from typing import Any

from sanic_qserver.config.settings import ReplicasConfig
from sanic_qserver.errors import ConfigError, Overloaded

CONNECTIONS = 64
_TIMEOUT_S = 2.0
_POOL_WAIT_S = 3.0  # For a connection, when all are in use.


class SharedStateAway(Overloaded):
    """The Redis that replicas share does not answer. What needs it is refused; reads go on."""

    code = "shared_state_away"


class SharedRedis:
    """Connects on first use. `key` makes the names, `script` atomic steps, `ask` waits for an answer."""

    def __init__(self, config: ReplicasConfig) -> None:
        """Raises ConfigError for a URL that is none, or when the library is not installed."""
        try:
            from redis.asyncio import Redis  # noqa: PLC0415  # the extra [redis]
            from redis.asyncio.retry import Retry  # noqa: PLC0415
            from redis.backoff import NoBackoff  # noqa: PLC0415
            from redis.exceptions import RedisError  # noqa: PLC0415

            from sanic_qserver.shared_state.pool import FreshPool  # noqa: PLC0415
        except ImportError:
            raise ConfigError("[replicas] redis: needs the extra: pip install 'sanic-qserver[redis]'") from None
        self._prefix = config.name
        # RuntimeError: uvloop's, for a write to a connection that was reset a moment ago.
        self._failures: tuple[type[Exception], ...] = (RedisError, OSError, RuntimeError)
        try:
            pool = FreshPool.from_url(
                config.redis, max_connections=CONNECTIONS, timeout=_POOL_WAIT_S, socket_timeout=_TIMEOUT_S,
                socket_connect_timeout=_TIMEOUT_S, retry=Retry(NoBackoff(), 0),
            )  # fmt: skip
        except Exception as error:  # The library raises what it likes; the URL may hold a password.
            raise ConfigError(f"[replicas] redis: not the URL of a Redis ({type(error).__name__})") from None
        self.client: Any = Redis.from_pool(pool)

    def key(self, *parts: str) -> str:
        """The name of something that the replicas of this server share, and no other server."""
        return ":".join((self._prefix, *parts))

    def script(self, lua: str) -> Any:
        """An atomic step: call it with `keys` and `args`, and give the answer to `ask`."""
        return self.client.register_script(lua)

    async def ask(self, answer: Awaitable[Any]) -> Any:
        """The answer. Raises SharedStateAway: then it is unknown whether anything was done."""
        task = asyncio.current_task()
        cancelled = task.cancelling() if task is not None else 0
        try:
            found = await answer
        except self._failures as error:
            if task is not None and task.cancelling() > cancelled:
                raise asyncio.CancelledError from None
            raise SharedStateAway(
                f"The Redis that replicas share does not answer ({type(error).__name__})", headers={"Retry-After": "1"}
            ) from None
        if task is not None and task.cancelling() > cancelled:
            raise asyncio.CancelledError  # redis 8.1 swallows four of ten (measured): tasks would never end.
        return found

    async def close(self) -> None:
        """Close the connections."""
        await self.client.aclose()
        await self.client.connection_pool.disconnect()


def build_shared(config: ReplicasConfig) -> SharedRedis | None:
    """The Redis of the replicas; None for a server that is alone. Raises ConfigError."""
    return SharedRedis(config) if config.redis else None
