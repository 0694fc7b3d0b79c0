"""Waiting for RE Manager without polling it."""

import asyncio
import time

import pytest
from conftest import KEY, app_of, until_connected

PLAN = {"name": "count", "args": [["det1"]], "item_type": "plan"}


async def wait_for(client, condition, timeout=10.0):
    reply = await client.get("/api/status", params={"wait_for": condition, "timeout": timeout})
    assert reply.status_code == 200, reply.text
    return reply.json()


async def test_what_is_so_already_is_answered_at_once(client):
    reply = await wait_for(client, "idle")
    assert reply["wait"]["met"] is True
    assert reply["manager_state"] == "idle"
    assert reply["wait"]["for"] == "idle"


async def test_what_does_not_come_is_answered_after_the_timeout(client):
    reply = await wait_for(client, "paused", 0.2)
    assert reply["wait"]["met"] is False
    assert reply["wait"]["waited_s"] >= 0.2
    assert reply["manager_state"] == "idle"


async def test_the_plain_status_has_no_member_more(client):
    assert "wait" not in (await client.get("/api/status")).json()


async def test_the_timeout_is_bounded(sanic_client, make_config):
    client = await sanic_client(app_of(make_config(live={"max_wait_s": 0.2})))
    client.headers["Authorization"] = f"ApiKey {KEY}"
    await until_connected(client)
    began = time.monotonic()
    assert (await wait_for(client, "paused", 1000))["wait"]["met"] is False
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("condition", ["", "nonsense", "item_finished", "a b=c"])
async def test_what_is_no_condition_is_refused(client, condition):
    reply = await client.get("/api/status", params={"wait_for": condition})
    assert reply.status_code == 400
    assert reply.json()["field"] == "wait_for"


async def test_an_item_that_is_nowhere_is_not_waited_for(client):
    reply = await client.get("/api/status", params={"wait_for": "item_finished:nobody"})
    assert reply.status_code == 404


async def test_a_change_is_noticed(client):
    status = (await client.get("/api/status")).json()
    waiting = asyncio.ensure_future(wait_for(client, f"changed:{status['status_uid']}"))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    await client.post("/api/queue/item/add", json={"item": PLAN})
    reply = await waiting
    assert reply["wait"]["met"] is True
    assert reply["status_uid"] != status["status_uid"]


async def test_a_member_of_the_status_is_compared(client):
    waiting = asyncio.ensure_future(wait_for(client, "items_in_queue=2"))
    for _ in range(2):
        await client.post("/api/queue/item/add", json={"item": PLAN})
    assert (await waiting)["items_in_queue"] == 2
    assert (await wait_for(client, "manager_state=idle"))["wait"]["met"]
    assert (await wait_for(client, "running_item_uid=null"))["wait"]["met"]
    assert not (await wait_for(client, "running_item_uid=idle", 0.1))["wait"]["met"]


async def test_a_thousand_wait_at_the_cost_of_one(client):
    services = client.app.ctx.services
    waits = services.live.waits
    waiting = [asyncio.ensure_future(waits.until("items_in_queue=1", 20)) for _ in range(1000)]
    while waits.count < 1000:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    before = services.manager.counts["sent"]
    await client.post("/api/queue/item/add", json={"item": PLAN})
    met = await asyncio.gather(*waiting)
    assert all(snapshot.values["items_in_queue"] == 1 for snapshot in met)
    assert services.manager.counts["sent"] - before < 20
    assert waits.count == 0


async def test_who_leaves_waits_no_more(client):
    waits = client.app.ctx.services.live.waits
    waiting = asyncio.ensure_future(wait_for(client, "paused", 20))
    while waits.count == 0:
        await asyncio.sleep(0.01)
    waiting.cancel()
    async with asyncio.timeout(5):
        while waits.count:
            await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_a_running_queue_is_waited_for(open_environment):
    client = open_environment
    assert (await wait_for(client, "environment_open"))["wait"]["met"]
    uids = []
    for _ in range(2):
        reply = (await client.post("/api/queue/item/add", json={"item": PLAN})).json()
        uids.append(reply["item"]["item_uid"])
    finished = asyncio.ensure_future(wait_for(client, f"item_finished:{uids[0]}", 30))
    last = asyncio.ensure_future(wait_for(client, f"item_finished:{uids[1]}", 30))
    await asyncio.sleep(0.3)
    await client.post("/api/queue/start")
    idle = await wait_for(client, "idle", 30)
    assert idle["items_in_history"] == 2
    assert (await finished)["wait"]["met"]
    assert (await last)["wait"]["met"]
    assert (await finished)["wait"]["waited_s"] <= (await last)["wait"]["waited_s"]
    assert (await wait_for(client, f"item_finished:{uids[0]}"))["wait"]["waited_s"] < 5
    assert (await wait_for(client, "queue_empty"))["wait"]["met"]


async def test_who_may_not_see_the_queue_may_not_wait_for_items(sanic_client, make_config):
    anonymous = await sanic_client(app_of(make_config(auth={"allow_anonymous_access": True})))
    await until_connected(anonymous)
    assert (await anonymous.get("/api/status?wait_for=idle")).status_code == 200
    assert (await anonymous.get("/api/status?wait_for=item_finished:x")).status_code == 403
