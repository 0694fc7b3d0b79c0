"""Connections to Redis that are reset while they are used, on the event loop that serves."""

import asyncio
import contextlib

import pytest
import uvloop
from redis.asyncio.connection import AbstractConnection
from redis_server import Redis

from sanic_qserver.config.settings import IdempotencyConfig, ReplicasConfig
from sanic_qserver.middleware.idempotency.keys import Key, StoreUnavailable
from sanic_qserver.middleware.idempotency.redis import RedisKeys
from sanic_qserver.policy.rates.counters import Charge
from sanic_qserver.policy.rates.redis_counters import RedisCounters
from sanic_qserver.shared_state.redis import SharedRedis, SharedStateAway

AT_ONCE = 8


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


@pytest.fixture
def own(tmp_path):
    running = Redis(tmp_path)
    running.start()
    yield running
    running.stop()


class Shared(SharedRedis):
    def __init__(self, url):
        super().__init__(ReplicasConfig(redis=url))
        self._count = self.script("return redis.call('INCR', KEYS[1])")

    async def use(self, number):
        return await self.ask(self._count(keys=["count"]))


class Keys(RedisKeys):
    def __init__(self, url):
        super().__init__(IdempotencyConfig(store=url))

    async def use(self, number):
        return await self.claim(Key("somebody", f"{number}"), "worker.1", "a call")


class Counters(RedisCounters):
    async def use(self, number):
        return await self.take([Charge((f"{number}",), 1000, 60.0, 1)])


def restart(own):
    own.stop()
    own.start()


async def use_all(store, numbers):
    """All at once; each to its end, whatever the others come to."""
    done = await asyncio.gather(*(store.use(number) for number in numbers), return_exceptions=True)
    return [fact for fact in done if isinstance(fact, BaseException)]


async def kill_connections(own, count=AT_ONCE):
    admin = SharedRedis(ReplicasConfig(redis=own.url))
    assert await admin.ask(admin.client.client_kill_filter(_type="normal", skipme=True)) >= count
    await admin.close()


@pytest.mark.parametrize("make", [Shared, Keys, Counters])
def test_no_call_fails_after_a_restart_of_redis_while_nobody_asked(own, make):
    async def ask():
        store = make(own.url)
        await use_all(store, range(AT_ONCE))
        restart(own)  # The loop stands still meanwhile: it has not heard of it when the next calls come.
        failed = await use_all(store, range(AT_ONCE, 3 * AT_ONCE))
        await store.close()
        assert failed == []

    run(ask())


@pytest.mark.parametrize("make", [Shared, Keys, Counters])
def test_no_call_fails_after_connections_were_closed_and_the_loop_has_heard_of_it(own, make):
    async def ask():
        store = make(own.url)
        await use_all(store, range(AT_ONCE))
        await kill_connections(own)
        failed = [fact for _ in range(3) for fact in await use_all(store, range(AT_ONCE, 3 * AT_ONCE))]
        await store.close()
        assert failed == []

    run(ask())


def test_a_call_whose_connection_breaks_while_it_waits_for_the_answer_is_not_sent_again(own):
    async def ask():
        store, admin = (SharedRedis(ReplicasConfig(redis=own.url)) for _ in range(2))
        waiting = asyncio.ensure_future(store.ask(store.client.blpop("things")))
        while not (await admin.ask(admin.client.info("clients")))["blocked_clients"]:
            await asyncio.sleep(0.01)
        await kill_connections(own, 1)
        with pytest.raises(SharedStateAway):
            await waiting
        await admin.ask(admin.client.rpush("things", "one"))
        assert await store.ask(store.client.llen("things")) == 1
        for each in (store, admin):
            await each.close()

    run(ask())
