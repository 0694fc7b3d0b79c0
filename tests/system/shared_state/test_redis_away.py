"""The Redis that replicas share is away: changes that need a guarantee are refused, everything else goes on."""

import asyncio
import contextlib

import pytest
from attempts import attempt
from conftest import KEY
from policy_people import as_
from redis_server import Redis

from sanic_qserver.config.settings import ReplicasConfig
from sanic_qserver.errors import TooManyRequests
from sanic_qserver.policy.files.documents import parse_document
from sanic_qserver.policy.rates.limiter import RateLimits, RateRules
from sanic_qserver.policy.rates.shared_slots import SharedSlots
from sanic_qserver.shared_state.redis import SharedRedis
from sanic_qserver.shared_state.watch import EVICTS, FORGETS, RedisWatch

PLAN = {"name": "count", "args": [["det1"]], "item_type": "plan"}
POLICY = """
roles:
  visitor: {inherits: observer, scopes_add: ["write:queue:edit:own"]}
  tight: {inherits: visitor, quota: {queue_items: 5}}
users:
  tim: {roles: tight}
  staff: {roles: expert}
"""


@pytest.fixture
def redis(tmp_path):
    with Redis(tmp_path) as running:
        yield running


@pytest.fixture
async def server(serve_people, redis):
    return await serve_people(POLICY, replicas={"redis": redis.url})


async def add(server, name, **headers):
    return await server.post("/api/queue/item/add", json={"item": PLAN}, headers={**as_(name), **headers})


async def test_edits_that_need_the_lock_are_refused_and_the_rest_goes_on(server, redis):
    mine = (await add(server, "tim")).json()["item"]["item_uid"]
    redis.stop()
    refused = [
        await add(server, "tim"),
        await server.post("/api/queue/item/update", json={"item": {**PLAN, "item_uid": mine}}, headers=as_("staff")),
        await server.post("/api/queue/item/remove", json={"uid": mine}, headers=as_("tim")),
    ]
    assert [(reply.status_code, reply.json()["code"]) for reply in refused] == [(503, "shared_state_away")] * 3
    assert all(reply.headers["Retry-After"] for reply in refused)
    assert (await add(server, "staff")).json()["success"]
    items = (await server.get("/api/queue/get", headers=as_("tim"))).json()["items"]
    assert len(items) == 2
    assert (await server.get("/api/status", headers=as_("tim"))).status_code == 200
    redis.start()
    async with asyncio.timeout(10):
        while (await add(server, "tim")).status_code == 503:
            await asyncio.sleep(0.1)


async def test_nobody_is_refused_after_redis_was_restarted_while_nobody_asked(server, redis):
    async def ask_at_once():
        """Each takes a connection of its own to the Redis that replicas share."""
        headers = {"Authorization": f"ApiKey {KEY}"}
        replies = await asyncio.gather(*(server.post("/api/auth/ticket", headers=headers) for _ in range(8)))
        return {reply.status_code for reply in replies} | {(await add(server, "tim")).status_code}

    assert await ask_at_once() == {200}
    redis.stop()
    redis.start()
    assert await ask_at_once() == {200}


async def readiness(server):
    reply = await server.get("/readyz", headers={"Authorization": f"ApiKey {KEY}"})
    return reply.status_code, reply.json()["status"], reply.json()["checks"]["replicas"]


async def until_it_is(server, status):
    async with asyncio.timeout(15):
        while (await readiness(server))[1] != status:
            await asyncio.sleep(0.05)


async def test_readyz_says_that_it_is_away_and_stays_ready_for_reads(server, redis):
    assert await readiness(server) == (200, "ready", "ok")
    redis.stop()
    await until_it_is(server, "degraded")
    assert (await readiness(server))[0] == 200
    redis.start()
    await until_it_is(server, "ready")


async def test_a_redis_that_evicts_or_forgets_is_warned_of_until_that_is_put_right(redis):
    warnings = []
    shared = SharedRedis(ReplicasConfig(redis=redis.url))
    watch = RedisWatch(shared, warnings, {})
    await watch._look()
    assert warnings == [FORGETS]
    await shared.client.config_set("maxmemory-policy", "allkeys-lru")
    await shared.client.config_set("appendonly", "yes")
    await watch._look()
    assert warnings == [EVICTS.format("allkeys-lru")]
    await shared.client.config_set("maxmemory-policy", "noeviction")
    await watch._look()
    assert warnings == []
    await shared.close()


async def test_streams_and_keys_are_refused_before_anything_is_sent(server, redis):
    redis.stop()
    stream = await server.post("/api/queue/item/add/stream", content=b"", headers=as_("staff"))
    assert (stream.status_code, stream.json()["code"]) == (503, "shared_state_away")
    keyed = await add(server, "staff", **{"Idempotency-Key": "k"})
    assert (keyed.status_code, bool(keyed.headers["Retry-After"])) == (503, True)
    assert (await server.get("/api/queue/get", headers=as_("tim"))).json()["items"] == []


async def enter_or_not(policy):
    with contextlib.suppress(TooManyRequests):
        return await policy.enter(attempt())


async def test_slots_are_counted_by_each_replica_meanwhile_and_by_all_afterwards(redis):
    shared = [SharedRedis(ReplicasConfig(redis=redis.url)) for _ in range(2)]
    rules = parse_document("concurrency: [{name: few, most: 2, of: requests}]", "rates.yaml")
    one, other = (RateLimits(RateRules(rules), slots=SharedSlots(part)) for part in shared)
    redis.stop()
    held = [await policy.enter(attempt()) for policy in (one, one, other, other)]
    for policy in (one, other):
        with pytest.raises(TooManyRequests):
            await policy.enter(attempt())
    redis.start()
    other.leave(held[2])
    async with asyncio.timeout(15):  # What was taken meanwhile counts, once each has told of it.
        while await shared[0].client.zcard(shared[0].key("slots", "few", "ldap:jdoe")) < 3:
            await asyncio.sleep(0.1)
        while (ticket := await enter_or_not(other)) is not None:  # It asks again after a pause.
            other.leave(ticket)
            await asyncio.sleep(0.1)
    for policy, part in zip((one, other), shared, strict=True):
        await policy.stop()
        await part.close()


async def test_tickets_of_a_server_without_logins_are_refused_meanwhile(server, redis):
    redis.stop()
    reply = await server.post("/api/auth/ticket", headers={"Authorization": f"ApiKey {KEY}"})
    assert (reply.status_code, reply.json()["code"]) == (503, "shared_state_away")
