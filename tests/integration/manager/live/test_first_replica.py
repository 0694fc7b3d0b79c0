"""The first replica of all begins with a log that is empty, and with no state stored."""

import asyncio
import os

from conftest import KEY, app_of, until_connected
from watching import Events


async def test_who_subscribes_just_after_the_first_replica_has_started_gets_a_snapshot(
    sanic_client, make_config, instrument
):
    replicas = {"redis": f"redis://127.0.0.1:{instrument.redis_port}/3", "name": os.urandom(6).hex()}
    client = await sanic_client(app_of(make_config(replicas=replicas)))
    await until_connected(client)
    live = client.app.ctx.services.live
    async with asyncio.timeout(20):
        while not live.events.since(f"{live.events.epoch}-0", ["queue", "lock"]).messages:
            await asyncio.sleep(0.02)
    assert live.state.snapshot("queue") is None, "what it had read at its start holds no state"
    headers = {"Authorization": f"ApiKey {KEY}"}
    events = await Events.connect(client.port, "/api/events?topics=queue,lock", headers)
    assert [(await events.next())["data"].split('"type":"')[1].split('"')[0] for _ in range(3)] == [
        "hello",
        "snapshot",
        "snapshot",
    ]
