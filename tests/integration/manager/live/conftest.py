"""Replicas in the loop of the test."""

import asyncio
import os

import pytest
from conftest import app_of, until_connected
from following import HEADERS
from redis_server import Redis

PLAN = {"name": "count", "args": [["det1"]], "item_type": "plan"}


@pytest.fixture
def replicas(instrument):
    """What the replicas of a test share: by default a database in the Redis of RE Manager."""
    return {"redis": f"redis://127.0.0.1:{instrument.redis_port}/3", "name": os.urandom(6).hex()}


@pytest.fixture
def serve_replica(sanic_client, make_config, replicas):
    """Start one more replica."""

    async def serve(url=""):
        shared = {**replicas, "redis": url or replicas["redis"]}
        client = await sanic_client(app_of(make_config(replicas=shared)))
        client.headers.update(HEADERS)
        await until_connected(client)
        await until_known(client)
        return client

    return serve


@pytest.fixture
async def two(serve_replica):
    """Two replicas, with an empty queue and history."""
    one, other = await serve_replica(), await serve_replica()
    await clear(one)
    return one, other


@pytest.fixture
def redis(tmp_path):
    """A Redis that keeps its data."""
    with Redis(tmp_path, is_kept=True) as running:
        yield running


async def until_known(client):
    """Until the state of RE Manager is known to all replicas."""
    state = client.app.ctx.services.live.state
    async with asyncio.timeout(20):
        while state.snapshot("queue") is None:
            await asyncio.sleep(0.02)
            await state._fetch()


async def clear(client):
    for path in ("/api/queue/clear", "/api/history/clear"):
        assert (await client.post(path)).json()["success"]


async def add(client):
    reply = (await client.post("/api/queue/item/add", json={"item": PLAN})).json()
    assert reply["success"]
    return reply["item"]["item_uid"]


def feed(client):
    return client.app.ctx.services.live.feed


def follower_first(clients):
    """The one that follows RE Manager, then the others."""
    return sorted(clients, key=lambda client: not feed(client).lease.is_held)
