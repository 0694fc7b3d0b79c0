"""Idempotency-Keys in a Redis that all workers and replicas share.

Each step is one script: atomic. Leases are keys that expire, on Redis' own clock. Redis must not evict
(`maxmemory-policy noeviction`) and should write what it is told (`appendonly yes`): what it forgets, is done again.

Fails closed: without Redis a call with a key is refused (503), since nobody could say whether it was done.
"""

from collections.abc import Awaitable
from hashlib import blake2b
from typing import Any

import msgspec

from sanic_qserver.config.settings import IdempotencyConfig
from sanic_qserver.errors import ConfigError
from sanic_qserver.middleware.idempotency.keys import CUT_OFF, LEASE_S, Kept, Key, State, StoreUnavailable
from sanic_qserver.middleware.idempotency.memory import fitting, too_many_keys

CONNECTIONS = 64
_TIMEOUT_S = 2.0
_POOL_WAIT_S = 5.0  # For a connection, when all are in use.

# KEYS: the key, the owner's keys. ARGV: claim, what is kept of it, keep_ms, max_keys, lease prefix.
_CLAIM = """
local function worker(claim) return string.match(claim, '^[^.]+') end
local found = redis.call('HMGET', KEYS[1], 'state', 'claim', 'kept')
if found[1] and found[1] ~= 'running' then return {found[1], found[3]} end
if found[1] and worker(found[2]) ~= worker(ARGV[1]) then
  if redis.call('EXISTS', ARGV[5] .. worker(found[2])) == 1 then return {'running', found[3]} end
  redis.call('HSET', KEYS[1], 'state', 'unknown')
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return {'unknown', found[3]}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
if not found[1] and redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[4]) then
  return {'full', tostring(redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2] - now)}
end
redis.call('HSET', KEYS[1], 'state', 'running', 'claim', ARGV[1], 'kept', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('ZADD', KEYS[2], now + ARGV[3], KEYS[1])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return false
"""
# ARGV: claim, state, kept, keep_ms.
_KEEP = """
redis.call('HSET', KEYS[1], 'state', ARGV[2], 'claim', ARGV[1], 'kept', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
"""
_RELEASE = """
local found = redis.call('HMGET', KEYS[1], 'state', 'claim')
if found[1] == 'running' and found[2] == ARGV[1] then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], KEYS[1])
end
"""


class RedisKeys:
    """Implements `KeyStore`. Calls wait for a connection of a bounded pool; none is refused for want of one.

    All names begin with `prefix`: servers that use the same Redis have different ones.
    """

    def __init__(self, config: IdempotencyConfig, prefix: str = "sanic_qserver") -> None:
        try:
            from redis.asyncio import Redis  # noqa: PLC0415  # the extra [redis]
            from redis.asyncio.retry import Retry  # noqa: PLC0415
            from redis.backoff import NoBackoff  # noqa: PLC0415
            from redis.exceptions import RedisError  # noqa: PLC0415

            from sanic_qserver.shared_state.pool import FreshPool  # noqa: PLC0415
        except ImportError:
            raise ConfigError(
                "[idempotency] store: Redis needs the extra: pip install 'sanic-qserver[redis]'"
            ) from None
        pool = FreshPool.from_url(
            config.store, max_connections=CONNECTIONS, timeout=_POOL_WAIT_S, socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S, retry=Retry(NoBackoff(), 1),
        )  # fmt: skip
        self._redis: Any = Redis.from_pool(pool)
        # RuntimeError: uvloop's, for a write to a connection that was reset a moment ago.
        self._failures: tuple[type[Exception], ...] = (RedisError, OSError, RuntimeError)
        self._claim = self._redis.register_script(_CLAIM)
        self._keep = self._redis.register_script(_KEEP)
        self._release = self._redis.register_script(_RELEASE)
        self._config = config
        self._prefix = f"{prefix}:idempotency:"
        self._keep_ms = int(config.keep_s * 1000)
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Kept).decode

    async def claim(self, key: Key, claim: str, fingerprint: str) -> Kept | None:
        """See KeyStore."""
        kept = self._encode(Kept(state=State.RUNNING, fingerprint=fingerprint))
        args: list[Any] = [claim, kept, self._keep_ms, self._config.max_keys, f"{self._prefix}worker:"]
        found = await self._ask(self._claim(keys=self._names(key), args=args))
        if found is None:
            return None
        state, kept = found
        if state == b"full":
            raise too_many_keys(self._config, float(kept) / 1000)
        known = self._decode(kept)
        if state == b"unknown" and known.state is State.RUNNING:
            return Kept(state=State.UNKNOWN, fingerprint=known.fingerprint, body=CUT_OFF)
        return known

    async def read(self, key: Key) -> Kept | None:
        """See KeyStore."""
        found = await self._ask(self._redis.hget(self._names(key)[0], "kept"))
        return None if found is None else self._decode(found)

    async def keep(self, key: Key, claim: str, kept: Kept) -> None:
        """See KeyStore."""
        kept = fitting(kept, self._config)
        args: list[Any] = [claim, str(kept.state), self._encode(kept), self._keep_ms]
        await self._ask(self._keep(keys=self._names(key), args=args))

    async def release(self, key: Key, claim: str) -> None:
        """See KeyStore."""
        await self._ask(self._release(keys=self._names(key), args=[claim]))

    async def renew(self, worker: str) -> None:
        """See KeyStore."""
        await self._ask(self._redis.set(f"{self._prefix}worker:{worker}", b"", px=int(LEASE_S * 1000)))

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    async def _ask(self, answer: Awaitable[Any]) -> Any:
        try:
            return await answer
        except self._failures as error:
            raise StoreUnavailable(f"{type(error).__name__}: {error}") from None

    def _names(self, key: Key) -> list[str]:
        owner = blake2b(key.owner.encode(), digest_size=12).hexdigest()
        return [f"{self._prefix}key:{key.owner}\n{key.name}", f"{self._prefix}owner:{owner}"]
