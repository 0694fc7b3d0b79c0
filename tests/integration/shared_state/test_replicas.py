"""Two replicas behind a balancer that is not sticky: what one knows, the other knows."""

import asyncio

from sanic_qserver.auth.tokens.one_time import RedisOneTime

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
