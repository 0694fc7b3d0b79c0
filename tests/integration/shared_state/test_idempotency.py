"""Idempotency-Keys of replicas: one answer at all of them, and none from another server on the same Redis."""

import asyncio
import os

from conftest import KEY, app_of, until_connected

PLAN = {"name": "count", "args": [["det1"]], "item_type": "plan"}


async def add(server, key):
    return await server.post("/api/queue/item/add", json={"item": PLAN}, headers={"Idempotency-Key": key})


async def test_a_key_is_done_once_whichever_replica_is_asked(serve_replicas):
    one, other = await serve_replicas()
    await one.post("/api/queue/clear")
    replies = await asyncio.gather(*(add(server, f"k{number}") for number in range(8) for server in (one, other)))
    assert [reply.status_code for reply in replies] == [200] * 16
    assert [reply.content for reply in replies[::2]] == [reply.content for reply in replies[1::2]]
    assert sum("Idempotency-Replayed" in reply.headers for reply in replies) == 8
    assert len((await other.get("/api/queue/get")).json()["items"]) == 8


async def test_another_server_on_the_same_redis_has_keys_of_its_own(
    serve_replicas, sanic_client, make_config, instrument
):
    one, _ = await serve_replicas()
    redis = f"redis://127.0.0.1:{instrument.redis_port}/5"
    strange = await sanic_client(app_of(make_config(replicas={"redis": redis, "name": f"else-{os.urandom(4).hex()}"})))
    strange.headers["Authorization"] = f"ApiKey {KEY}"
    await until_connected(strange)
    assert "Idempotency-Replayed" not in (await add(one, "k")).headers
    assert "Idempotency-Replayed" not in (await add(strange, "k")).headers
    assert "Idempotency-Replayed" in (await add(strange, "k")).headers
