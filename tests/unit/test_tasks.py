"""Tasks that are ended have ended."""

import asyncio
import contextlib

import pytest

from sanic_qserver.config.settings import ReplicasConfig
from sanic_qserver.shared_state.lease import Lease
from sanic_qserver.shared_state.redis import SharedRedis
from sanic_qserver.tasks import end_tasks


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr("sanic_qserver.tasks._AGAIN_S", 0.05)


async def ask_again_and_again():
    while True:
        await asyncio.wait_for(asyncio.sleep(0), 10)


@pytest.mark.parametrize("turns", range(8))
async def test_a_loop_that_forgets_a_cancellation_is_ended(turns):
    task = asyncio.create_task(ask_again_and_again())
    for _ in range(turns):
        await asyncio.sleep(0)
    await end_tasks(task, None)
    assert task.cancelled()


async def test_what_a_task_raised_is_dropped():
    async def fail():
        raise OSError

    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    await end_tasks(task)
    assert isinstance(task.exception(), OSError)


@pytest.mark.parametrize("turns", range(12))
async def test_a_lease_is_given_back_also_when_redis_answers_in_the_turn_of_the_stop(turns, monkeypatch):
    redis = SharedRedis(ReplicasConfig(redis="redis://127.0.0.1:1/0"))
    released = []

    async def answer(value):
        await asyncio.wait_for(asyncio.sleep(0), 10)  # As redis-py sends.
        return value

    lease = Lease(redis, "x", lambda _: asyncio.Event().wait())
    monkeypatch.setattr(lease, "_acquire", lambda **_: answer(1))
    monkeypatch.setattr(lease, "_renew", lambda **_: answer(1))
    monkeypatch.setattr(lease, "_release", lambda **_: released.append(True) or answer(1))
    monkeypatch.setattr("sanic_qserver.shared_state.lease._RENEW_S", 0.001)
    lease.open()
    while not lease.is_held:
        await asyncio.sleep(0)
    for _ in range(turns):
        await asyncio.sleep(0.001 if turns % 2 else 0)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(20):
            await lease.close()
    assert released
    assert not lease.is_held
