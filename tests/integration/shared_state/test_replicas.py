"""Two replicas behind a balancer that is not sticky: what one knows, the other knows."""

import asyncio

import msgspec
from conftest import KEY, app_of

from sanic_qserver.auth.tokens.one_time import RedisOneTime
from sanic_qserver.shared_state.watch import DISAGREES

PLAN = {"name": "count", "args": [["det1"]], "item_type": "plan"}


async def test_who_adds_at_one_replica_sees_it_at_the_other_at_once_two_hundred_times(serve_replicas):
    replicas = await serve_replicas()
    await replicas[0].post("/api/queue/clear")
    for number in range(200):
        here, there = replicas[number % 2], replicas[1 - number % 2]
        added = (await here.post("/api/queue/item/add", json={"item": PLAN})).json()
        seen = (await there.get("/api/queue/get")).json()["items"]
        assert len(seen) == number + 1
        assert seen[-1]["item_uid"] == added["item"]["item_uid"]


async def test_a_ticket_opens_a_stream_at_another_replica_once(serve_replicas):
    one, other = await serve_replicas()
    ticket = (await one.post("/api/auth/ticket")).json()["ticket"]
    one_time = [client.app.ctx.services.logins.one_time for client in (one, other)]
    assert all(isinstance(part, RedisOneTime) for part in one_time)
    assert (await one_time[1].look("ticket", ticket))["name"]
    taken = await asyncio.gather(*(part.take("ticket", ticket) for part in one_time * 5))
    assert sum(value is not None for value in taken) == 1
    now = one.app.ctx.services.logins.clock()
    await one_time[0].put("ticket", "short", {"a": 1}, now + 0.05)
    await asyncio.sleep(0.1)
    assert await one_time[1].take("ticket", "short") is None


async def warnings(client):
    reply = await client.get("/readyz", headers={"Authorization": f"ApiKey {KEY}"})
    return [text for text in reply.json().get("warnings", ()) if "another replica" in text]


async def test_replicas_with_different_keys_are_warned_of_while_they_differ(serve_replicas, sanic_client, make_config):
    access = {"roles": {"unauthenticated_single_user": {"scopes_add": ["admin:metrics"]}}}
    one, _ = await serve_replicas(policy={"access": access})
    replicas = msgspec.to_builtins(one.app.ctx.services.config.replicas)
    assert await warnings(one) == []
    other = await sanic_client(app_of(make_config(replicas=replicas, auth={"single_user_api_key": "another-key"})))
    async with asyncio.timeout(10):
        while not (told := await warnings(one)):
            await asyncio.sleep(0.1)
    assert told == [DISAGREES.format("[auth] single_user_api_key")]
    await other.app.ctx.services.redis_watch.stop()
    async with asyncio.timeout(20):
        while await warnings(one):
            await asyncio.sleep(0.2)
