"""An item by the Idempotency-Key of its add."""

import pytest

PLAN = {"item_type": "plan", "name": "count", "args": [["det1"]]}


@pytest.fixture(params=["sqlite", "memory"])
async def server(client, sanic_client, make_config, tmp_path, request):
    from conftest import KEY, app_of, until_connected

    store = f"sqlite:///{tmp_path / 'keys.sqlite'}" if request.param == "sqlite" else request.param
    server = await sanic_client(app_of(make_config(idempotency={"store": store})))
    server.headers["Authorization"] = f"ApiKey {KEY}"
    await until_connected(server)
    return server


async def post(server, path, key, **body):
    return (await server.post(f"/api{path}", json=body, headers={"Idempotency-Key": key})).json()


async def test_an_add_is_found_by_its_key(server):
    item = (await post(server, "/queue/item/add", "night/1", item=PLAN))["item"]
    found = (await server.get("/api/item/by-key/night%2F1")).json()
    assert (found["state"], found["item_uid"]) == ("queued", item["item_uid"])
    assert found["item_uids"] == [item["item_uid"]]


async def test_a_batch_is_found_with_all_its_items(server):
    items = (await post(server, "/queue/item/add/batch", "b", items=[PLAN, PLAN]))["items"]
    found = (await server.get("/api/item/by-key/b")).json()
    assert found["item_uids"] == [item["item_uid"] for item in items]
    assert found["item_uid"] == items[0]["item_uid"]


async def test_a_key_that_added_nothing_is_a_404_with_the_reason(server):
    assert (await server.get("/api/item/by-key/none")).status_code == 404
    await post(server, "/queue/item/add", "bad", item={**PLAN, "name": "no_such_plan"})
    reply = await server.get("/api/item/by-key/bad")
    assert reply.status_code == 404
    assert "not in the list of allowed plans" in reply.json()["detail"]


async def test_a_key_that_cannot_be_one_is_refused(server):
    assert (await server.get(f"/api/item/by-key/{'x' * 300}")).status_code == 400
