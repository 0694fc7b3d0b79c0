"""Connections to Redis that are reset while they are used, on the event loop that serves."""

import asyncio
import contextlib

import pytest
import uvloop
from redis.asyncio.connection import AbstractConnection

from sanic_qserver.config.settings import IdempotencyConfig, ReplicasConfig
from sanic_qserver.middleware.idempotency.keys import Key, StoreUnavailable
from sanic_qserver.middleware.idempotency.redis import RedisKeys
from sanic_qserver.shared_state.redis import SharedRedis, SharedStateAway


@pytest.fixture
def url(instrument):
    return f"redis://127.0.0.1:{instrument.redis_port}/5"


@pytest.fixture
def reset_before_sending(monkeypatch):
    """Every connection is reset when the next command is to be sent over it."""
    send = AbstractConnection.send_packed_command

    async def reset_and_send(self, *args, **kwargs):
        if self.is_connected:
            self._writer.transport.abort()
        await send(self, *args, **kwargs)

    def begin():
        monkeypatch.setattr(AbstractConnection, "send_packed_command", reset_and_send)

    return begin


def run(coroutine):
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(coroutine)


def test_a_shared_redis_whose_connection_is_reset_is_away(url, reset_before_sending):
    async def ask():
        redis = SharedRedis(ReplicasConfig(redis=url))
        await redis.ask(redis.client.ping())
        reset_before_sending()
        with pytest.raises(SharedStateAway):
            await redis.ask(redis.client.ping())
        with contextlib.suppress(RuntimeError):
            await redis.close()

    run(ask())


def test_a_store_of_keys_whose_connection_is_reset_is_unavailable(url, reset_before_sending):
    async def ask():
        keys = RedisKeys(IdempotencyConfig(store=url))
        await keys.renew("worker")
        reset_before_sending()
        with pytest.raises(StoreUnavailable):
            await keys.claim(Key("somebody", "a key"), "worker.1", "a call")
        with contextlib.suppress(RuntimeError):
            await keys.close()

    run(ask())
