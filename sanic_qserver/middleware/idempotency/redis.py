"""Answers to calls with an `Idempotency-Key` in a Redis that all workers and replicas share."""

import asyncio
import logging
from collections.abc import Awaitable
from time import monotonic
from typing import Any

import msgspec

from sanic_qserver.config.settings import IdempotencyConfig
from sanic_qserver.errors import ConfigError, Overloaded
from sanic_qserver.middleware.idempotency.stored import WAIT_S, Kept, State

log = logging.getLogger("sanic_qserver.endpoints")

_POLL_S = 0.05


class RedisAnswers:
    """Implements `KeptAnswers`. A key whose worker died stays "running" until it expires.

    Fails closed: without Redis a call with a key is refused (503), since nobody could say whether it was done.
    """

    def __init__(self, config: IdempotencyConfig) -> None:
        try:
            from redis.asyncio import Redis  # noqa: PLC0415  # the extra [redis]
            from redis.exceptions import RedisError  # noqa: PLC0415
        except ImportError:
            raise ConfigError(
                "[idempotency] store: Redis needs the extra: pip install 'sanic-qserver[redis]'"
            ) from None
        self._redis: Any = Redis.from_url(config.store)
        self._failures: tuple[type[Exception], ...] = (RedisError, OSError)
        self._keep_ms = int(config.keep_s * 1000)
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Kept).decode

    async def claim(self, key: str, fingerprint: str) -> Kept | None:
        """See KeptAnswers."""
        claim = self._encode(Kept(state=State.RUNNING, fingerprint=fingerprint))
        until = monotonic() + WAIT_S
        while True:
            if await self._ask(self._redis.set(_name(key), claim, nx=True, px=self._keep_ms)):
                return None
            found = await self._ask(self._redis.get(_name(key)))
            if found is None:  # Expired or released in between.
                continue
            known = self._decode(found)
            if known.state is not State.RUNNING or known.fingerprint != fingerprint or monotonic() >= until:
                return known
            await asyncio.sleep(_POLL_S)

    async def keep(self, key: str, kept: Kept) -> None:
        """See KeptAnswers. The call was made already: a failure goes to the log, and the key stays "running"."""
        try:
            await self._redis.set(_name(key), self._encode(kept), px=self._keep_ms)
        except self._failures as error:
            log.warning("The answer to a call with an Idempotency-Key was not kept: %s", error)

    async def release(self, key: str) -> None:
        """See KeptAnswers."""
        try:
            await self._redis.delete(_name(key))
        except self._failures as error:
            log.warning("An Idempotency-Key was not released: %s", error)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def _ask(self, answer: Awaitable[Any]) -> Any:
        try:
            return await answer
        except self._failures as error:
            log.warning("[idempotency] store is not reachable: %s", error)
            raise Overloaded(
                "The store of Idempotency-Keys is not reachable; the call was not made", headers={"Retry-After": "5"}
            ) from None


def _name(key: str) -> str:
    return f"sanic_qserver:idempotency:{key}"
