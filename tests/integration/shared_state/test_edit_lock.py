"""The edit lock of replicas: exact quotas, and nothing sent under a lease that may have ended."""

import asyncio
import os
import time

import pytest
from policy_people import as_, let_people_in

from sanic_qserver.config.settings import ReplicasConfig
from sanic_qserver.errors import Overloaded
from sanic_qserver.shared_state.edit_lock import RedisEditLock
from sanic_qserver.shared_state.redis import SharedRedis
from sanic_qserver.shared_state.renewal import LEASE_S

PLAN = {"name": "count", "args": [["det1"]], "item_type": "plan"}
QUOTA = 40
POLICY = f"""
roles:
  visitor: {{inherits: observer, scopes_add: ["write:queue:edit:own"]}}
  tight: {{inherits: visitor, quota: {{queue_items: {QUOTA}}}}}
users:
  tim: {{roles: tight}}
  staff: {{roles: expert}}
"""


async def test_sixty_four_adders_at_two_servers_never_exceed_a_quota_by_one(serve_replicas, tmp_path):
    (tmp_path / "permissions.yaml").write_text(POLICY)
    servers = await serve_replicas(
        policy={"permissions": str(tmp_path / "permissions.yaml")}, manager={"queue_wait_s": 20.0}
    )
    for server in servers:
        let_people_in(server.app)
    assert (await servers[0].post("/api/queue/clear", headers=as_("staff"))).json()["success"]
    adds = [server.post("/api/queue/item/add", json={"item": PLAN}, headers=as_("tim")) for server in servers * 32]
    statuses = [reply.status_code for reply in await asyncio.gather(*adds)]
    assert sorted(statuses) == [200] * QUOTA + [429] * (64 - QUOTA)
    assert {200, 429} >= set(statuses[::2]) | set(statuses[1::2])
    assert all(200 in statuses[which::2] for which in (0, 1)), "one server got all the turns"
    held = (await servers[0].get("/api/queue/get", headers=as_("staff"))).json()["items"]
    assert len(held) == QUOTA


@pytest.fixture
async def locks(instrument):
    """Make the locks of processes that share a Redis; each has a clock that the test may set forward."""
    config = ReplicasConfig(redis=f"redis://127.0.0.1:{instrument.redis_port}/5", name=f"test-{os.urandom(4).hex()}")
    opened = []

    def make(clock=time.monotonic):
        shared = SharedRedis(config)
        opened.append(shared)
        return RedisEditLock(shared, clock)

    yield make
    for shared in opened:
        await shared.close()


async def test_one_at_a_time_and_in_the_order_in_which_they_came(locks):
    order = []

    async def edit(lock, name):
        async with lock.hold(10) as hold:
            order.append((name, hold.number))
            await asyncio.sleep(0.01)

    first = locks()
    async with first.hold(1):
        waiting = []
        for name in range(5):
            waiting.append(asyncio.create_task(edit(locks(), name)))
            await asyncio.sleep(0.05)
        assert order == []
    await asyncio.gather(*waiting)
    assert order == [(name, name + 2) for name in range(5)]


async def test_who_waits_too_long_is_refused_and_the_lock_is_not_lost_by_it(locks):
    one, other = locks(), locks()
    async with one.hold(1):
        with pytest.raises(Overloaded, match="nothing was sent"):
            async with other.hold(0.2):
                pass
    async with other.hold(1) as hold:
        assert hold.may_send()


async def test_it_is_renewed_while_it_is_held(locks):
    one, other = locks(), locks()
    async with one.hold(1) as hold:
        with pytest.raises(Overloaded):
            async with other.hold(LEASE_S + 1):
                pass
        assert hold.may_send()


async def test_a_holder_that_was_stopped_sends_nothing_and_the_next_is_told(locks):
    offset = 0.0
    stopped = locks(lambda: time.monotonic() + offset)
    other = locks()
    async with stopped.hold(1) as hold:
        hold.is_clean = True
        assert hold.may_send()
        offset = LEASE_S
        assert not hold.may_send()
        await other._shared.client.delete(other._keys[0])  # What the time does to a lease that nobody renews.
        async with other.hold(1) as next_hold:
            assert next_hold.is_after_loss
            assert next_hold.number == hold.number + 1
    async with stopped.hold(1) as again:
        assert again.is_after_loss, "who lost the lease could not say that all was done"
        again.is_clean = True
    async with other.hold(1) as last:
        assert not last.is_after_loss


async def test_a_waiter_that_is_gone_delays_nobody(locks):
    one, gone, other = locks(), locks(), locks()
    async with one.hold(1):
        waiting = asyncio.create_task(gone._wait(time.monotonic() + 10))
        await asyncio.sleep(0.1)
        behind = asyncio.create_task(other._wait(time.monotonic() + 10))
        await asyncio.sleep(0.1)
        waiting.cancel()
    assert (await asyncio.wait_for(behind, 5)).number
