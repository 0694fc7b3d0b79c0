"""The main path, end to end."""

PLAN = {"name": "count", "args": [["det1"]], "item_type": "plan"}


async def test_an_added_plan_is_in_the_queue(client):
    reply = (await client.post("/api/queue/item/add", json={"item": PLAN})).json()
    assert reply["success"], reply
    queue = (await client.get("/api/queue/get")).json()
    assert [item["item_uid"] for item in queue["items"]] == [reply["item"]["item_uid"]]


async def test_the_environment_opens(open_environment):
    assert (await open_environment.get("/status")).json()["worker_environment_exists"]


async def test_an_anonymous_caller_reads_the_status_only(anonymous):
    assert (await anonymous.get("/api/status")).status_code == 200
    assert (await anonymous.get("/api/queue/get")).status_code == 401
