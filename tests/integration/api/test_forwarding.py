"""What is forwarded to RE Manager, and how its replies come back."""

import asyncio

import msgspec
import pytest
from bluesky_queueserver.manager.conversions import simplify_plan_descriptions
from conftest import KEY, app_of, until_connected
from past_the_server import ask_manager
from servers import Instrument

from sanic_qserver.config.settings import load


def ask(instrument, method, **params):
    """RE Manager's own reply, as bytes."""
    return ask_manager(instrument.control_address, method, **params)


@pytest.mark.parametrize(
    ("path", "method", "params"),
    [
        ("/api/plans/allowed", "plans_allowed", {"user_group": "primary"}),
        ("/api/devices/existing", "devices_existing", {}),
        ("/api/permissions/get", "permissions_get", {}),
        ("/api/queue/get", "queue_get", {}),
        ("/api/history/get", "history_get", {}),
        ("/api/lock/info", "lock_info", {}),
        ("/api/config/get", "config_get", {}),
    ],
)
async def test_a_reply_comes_back_byte_for_byte(client, instrument, path, method, params):
    assert (await client.get(path)).content == await asyncio.to_thread(ask, instrument, method, **params)


@pytest.mark.parametrize("kind", ["allowed", "existing"])
async def test_reduced_plans_are_what_the_reference_server_makes_of_them(client, instrument, kind):
    params = {"user_group": "primary"} if kind == "allowed" else {}
    full = msgspec.json.decode(await asyncio.to_thread(ask, instrument, f"plans_{kind}", **params))[f"plans_{kind}"]
    for response in (
        await client.get(f"/api/plans/{kind}?reduced=true"),
        await client.request("GET", f"/api/plans/{kind}", json={"reduced": True}),
    ):
        assert response.json()[f"plans_{kind}"] == simplify_plan_descriptions(full)
    assert (await client.get(f"/api/plans/{kind}?reduced=false")).json()[f"plans_{kind}"] == full


async def test_a_site_may_let_unknown_parameters_pass_to_a_newer_manager(sanic_client, make_config):
    client = await sanic_client(app_of(make_config(manager={"unknown_params": "forward"})))
    client.headers["Authorization"] = f"ApiKey {KEY}"
    await until_connected(client)
    response = await client.post("/api/queue/stop/cancel", json={"from_the_future": 1})
    assert response.status_code == 200
    assert response.json()["success"] is False
    assert "from_the_future" in response.json()["msg"]
    wrong = await client.post("/api/queue/autostart", json={"from_the_future": 1, "enable": "x"})
    assert wrong.status_code == 400
    assert wrong.json()["field"] == "enable"


async def test_a_refused_operation_is_200_with_success_false(client):
    response = await client.post("/api/queue/item/remove", json={"uid": "no such item"})
    assert response.status_code == 200
    assert response.json()["success"] is False


async def test_the_mode_may_stand_at_the_top_level(client):
    assert (await client.post("/api/queue/mode/set", json={"loop": True})).json()["success"]
    assert (await client.get("/api/status")).json()["plan_queue_mode"]["loop"] is True
    assert (await client.post("/api/queue/mode/set", json={"mode": "default"})).json()["success"]
    both = await client.post("/api/queue/mode/set", json={"loop": True, "mode": "default"})  # `mode` wins.
    assert both.json()["success"]
    assert (await client.get("/api/status")).json()["plan_queue_mode"]["loop"] is False


async def test_what_is_inside_an_item_is_never_reshaped(client):
    kwargs = {"num": 1, "md": {"ключ": "значение", "n": None, "f": 1e-7, "i": 2**60, "deep": [[[{"a": []}]]]}}
    item = {"item_type": "plan", "name": "count", "args": [["det1"]], "kwargs": kwargs}
    added = (await client.post("/api/queue/item/add", json={"item": item})).json()
    assert added["success"], added
    assert added["item"]["kwargs"] == kwargs


async def test_the_server_sleeps_as_long_as_it_is_asked(client):
    loop = asyncio.get_running_loop()
    started = loop.time()
    assert (await client.get("/api/test/server/sleep?time=0.5")).json()["success"]
    assert loop.time() - started >= 0.5
    for wrong in ("61", "long", "nan"):
        assert (await client.get(f"/api/test/server/sleep?time={wrong}")).status_code == 400


@pytest.mark.slow
async def test_a_manager_that_speaks_msgpack_is_served_as_json(tmp_path, sanic_client):
    with Instrument(tmp_path, encoding="msgpack") as instrument:
        environment = {**instrument.environment, "QSERVER_ZMQ_ENCODING": "msgpack"}
        client = await sanic_client(
            app_of(load(environment=environment, overrides={"auth": {"single_user_api_key": KEY}}))
        )
        client.headers["Authorization"] = f"ApiKey {KEY}"
        await until_connected(client)
        assert (await client.get("/api/status")).json()["manager_state"] == "idle"
        item = {"item_type": "plan", "name": "count", "args": [["det1"]]}
        assert (await client.post("/api/queue/item/add", json={"item": item})).json()["success"]
        assert len((await client.get("/api/queue/get")).json()["items"]) == 1
        for _ in range(200):
            if (await client.get("/api/console_output")).json()["text"]:
                break
            await asyncio.sleep(0.05)
        assert "Adding new item" in (await client.get("/api/console_output")).json()["text"]
