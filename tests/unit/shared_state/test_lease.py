"""A lease in a real Redis: one holder, a fence that grows, and an end before anybody else can begin."""

import asyncio
import os
import time

import pytest
from redis_server import Redis

from sanic_qserver.config.settings import ReplicasConfig
from sanic_qserver.shared_state import lease as module
from sanic_qserver.shared_state.lease import Lease, StandAside
from sanic_qserver.shared_state.redis import SharedRedis


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Redis(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
async def redis(server):
    shared = SharedRedis(ReplicasConfig(redis=server.url, name=os.urandom(4).hex()))
    yield shared
    await shared.close()


class Workers:
    """Several holders of one lease, and what they did."""

    def __init__(self, redis, count):
        self.begun = []
        self.running = 0
        self.most = 0
        self.leases = [Lease(redis, "work", self.work) for _ in range(count)]

    async def work(self, fence):
        self.begun.append(fence)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.Event().wait()
        finally:
            self.running -= 1

    async def until_begun(self, count):
        async with asyncio.timeout(20):
            while len(self.begun) < count:
                await asyncio.sleep(0.01)

    def holder(self):
        return next(lease for lease in self.leases if lease.is_held)

    async def __aenter__(self):
        for lease in self.leases:
            lease.open()
        return self

    async def __aexit__(self, *_):
        for lease in self.leases:
            await lease.close()


async def test_one_of_all_works_and_the_next_one_has_a_greater_fence(redis):
    async with Workers(redis, 4) as workers:
        for count in (1, 2, 3):
            await workers.until_begun(count)
            await workers.holder().close()
        await workers.until_begun(4)
    assert workers.begun == sorted(set(workers.begun))
    assert workers.most == 1


async def test_who_dies_without_a_word_is_followed_when_its_lease_ends(redis, monkeypatch):
    async with Workers(redis, 2) as workers:
        await workers.until_begun(1)
        dead = workers.holder()
        monkeypatch.setattr(dead, "_renew", lambda **_: asyncio.Event().wait())
        monkeypatch.setattr(dead, "_release", lambda **_: asyncio.Event().wait())
        began = time.monotonic()
        await workers.until_begun(2)
        assert time.monotonic() - began < 5  # 1.9 s on an idle machine.
        assert workers.most == 1, "the old one stops before the new one begins"


async def test_a_lease_that_another_one_has_taken_stops_the_work(redis):
    async with Workers(redis, 1) as workers:
        await workers.until_begun(1)
        await redis.client.set(redis.key("work", "lease"), "another", px=300)
        await workers.until_begun(2)
    assert workers.most == 1
    assert workers.leases[0].lost_count == 1


async def test_work_that_fails_or_stands_aside_gives_the_lease_back(redis, monkeypatch):
    monkeypatch.setattr(module, "_ASIDE_S", 0.05)
    done = []

    async def work(fence):
        done.append(fence)
        if len(done) == 1:
            raise StandAside("not here")
        if len(done) == 2:
            raise RuntimeError("a bug")
        await asyncio.Event().wait()

    lease = Lease(redis, "work", work)
    lease.open()
    async with asyncio.timeout(10):
        while len(done) < 3:
            await asyncio.sleep(0.01)
    await lease.close()
    assert await redis.client.get(redis.key("work", "lease")) is None


async def test_a_task_that_is_cancelled_while_redis_answers_ends(redis):
    async def ask_on_and_on():
        while True:
            await redis.ask(redis.client.get("a"))

    for number in range(40):
        task = asyncio.ensure_future(ask_on_and_on())
        await asyncio.sleep(number / 10_000)
        task.cancel()
        done, _ = await asyncio.wait((task,), timeout=5)
        assert done, "the cancellation was swallowed"
