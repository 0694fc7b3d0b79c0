"""What became of an item, from the queue to the history."""

import asyncio

import pytest
from conftest import until_status

QUICK = {"item_type": "plan", "name": "mv", "args": ["motor1", 1]}
COUNT = {"item_type": "plan", "name": "count", "args": [["det1"]], "kwargs": {"num": 2}}
ENDED = {"completed", "failed", "stopped", "aborted", "halted", "skipped", "unknown"}


async def add(client, *items):
    reply = (await client.post("/api/queue/item/add/batch", json={"items": list(items)})).json()
    assert reply["success"], reply
    return [item["item_uid"] for item in reply["items"]]


async def state_of(client, uid):
    reply = await client.get(f"/api/item/{uid}")
    assert reply.status_code == 200, reply.text
    return reply.json()


async def test_a_queued_item_tells_its_place_and_how_many_are_before_it(client):
    first, second = await add(client, COUNT, QUICK)
    found = await state_of(client, second)
    assert (found["state"], found["position"], found["ahead"]) == ("queued", 1, 1)
    assert found["item"]["name"] == "mv"
    assert found["run_uids"] == []
    assert (await state_of(client, first))["ahead"] == 0


async def test_an_item_that_is_nowhere_is_a_404(client):
    reply = await client.get("/api/item/no-such-uid")
    assert reply.status_code == 404
    assert reply.json()["code"] == "not_found"
    assert "no-such-uid" in reply.json()["detail"]


async def test_an_ended_plan_tells_its_runs_and_times(open_environment):
    client = open_environment
    (uid,) = await add(client, COUNT)
    assert (await client.post("/api/queue/start")).json()["success"]
    wait = (await client.get(f"/api/status?wait_for=item_finished:{uid}&timeout=30")).json()["wait"]
    await until_status(client, manager_state="idle")
    found = await state_of(client, uid)
    assert found["state"] == "completed"
    assert len(found["run_uids"]) == len(found["scan_ids"]) == 1
    assert found["run_uids"] == found["result"]["run_uids"] == wait["run_uids"]
    assert found["time_start"] < found["time_stop"]
    assert found["position"] is None


async def test_a_running_item_is_running_and_counts_as_before_the_queue(open_environment):
    client = open_environment
    running, waiting = await add(client, {**COUNT, "kwargs": {"num": 3, "delay": 1}}, QUICK)
    assert (await client.post("/api/queue/start")).json()["success"]
    await until_status(client, running_item_uid=running)
    assert (await state_of(client, running))["state"] == "running"
    found = await state_of(client, waiting)
    assert (found["state"], found["position"], found["ahead"]) == ("queued", 0, 1)
    await until_status(client, 60, manager_state="idle", items_in_queue=0)


@pytest.mark.slow
async def test_an_item_never_vanishes_while_plans_run(open_environment):
    client = open_environment
    uids = await add(client, *[QUICK] * 50)
    order = {"queued": 0, "running": 1} | dict.fromkeys(ENDED, 2)
    seen = dict.fromkeys(uids, 0)

    async def poll(mine):
        while any(seen[uid] < 2 for uid in mine):
            for uid in mine:
                if seen[uid] < 2:
                    stage = order[(await state_of(client, uid))["state"]]
                    assert stage >= seen[uid], "an item went back"
                    seen[uid] = stage

    assert (await client.post("/api/queue/start")).json()["success"]
    async with asyncio.timeout(120):
        await asyncio.gather(*[poll(uids[start::8]) for start in range(8)])
    await until_status(client, 60, manager_state="idle")


async def test_a_list_of_items_is_the_callers_own_in_the_states_asked_for(client):
    await add(client, COUNT, QUICK)
    found = (await client.get("/api/items", params={"user": "me", "state": "queued,running"})).json()
    assert [item["item"]["name"] for item in found["items"]] == ["count", "mv"]
    assert found["total"] == 2
    page = (await client.get("/api/items?offset=1&limit=1")).json()
    assert [item["position"] for item in page["items"]] == [1]
    assert (await client.get("/api/items?user=somebody-else")).json()["total"] == 0
    assert (await client.get("/api/items?user=*&state=completed")).json()["items"] == []


async def test_an_unknown_state_is_refused_by_name(client):
    reply = await client.get("/api/items?state=lost")
    assert reply.status_code == 400
    assert "'lost'" in reply.json()["detail"]
