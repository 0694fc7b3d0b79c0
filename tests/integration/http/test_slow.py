"""The log of slow requests. Here all are slow."""

import asyncio
import logging

import pytest
from conftest import KEY, until_connected
from servers import app_of

PARTS = ("gate_s", "body_s", "queue_wait_s", "re_manager_s", "other_s")


@pytest.fixture
def start(sanic_client, make_config):
    async def start(slow_request_s):
        client = await sanic_client(app_of(make_config(log={"slow_request_s": slow_request_s})))
        client.headers["Authorization"] = f"ApiKey {KEY}"
        await until_connected(client)
        return client

    return start


def told(caplog):
    return [record.facts["slow"] for record in caplog.records if record.name == "sanic_qserver.slow"]


async def test_a_line_says_where_the_time_went(start, caplog):
    client = await start(1e-9)
    caplog.set_level(logging.WARNING, "sanic_qserver.slow")
    await asyncio.gather(*(client.get("/api/status") for _ in range(5)))
    await client.post("/api/queue/item/add", json={"item": {"item_type": "nothing"}})
    await client.get(f"/api/queue/item/nowhere?api_key={KEY}", headers={"Authorization": ""})
    await client.get("/api/status", headers={"Authorization": "ApiKey wrong"})
    *reads, add, missing, refused = told(caplog)
    for one in (*reads, add):
        assert one["seconds"] == pytest.approx(sum(one[part] for part in PARTS), abs=0.005)
        assert (one["status"], len(one["calls"])) == (200, 1)
    assert {(one["method"], one["path"], *one["calls"]) for one in reads} == {("GET", "/api/status", "status")}
    assert (add["path"], add["calls"]) == ("/api/queue/item/add", ["queue_item_add"])
    assert missing["status"] == 404
    assert (refused["status"], refused["calls"]) == (401, [])
    assert KEY not in caplog.text


async def test_who_is_asked_to_wait_is_not_slow_nor_is_a_stream(start, caplog):
    client = await start(1e-9)
    await client.get("/api/status?wait_for=environment_open&timeout=0.05")
    async with client.stream("GET", "/api/stream_console_output") as stream:
        assert stream.status_code == 200
    assert told(caplog) == []


@pytest.mark.parametrize("limit_s", [0, 60])
async def test_what_is_fast_is_not_told(start, caplog, limit_s):
    client = await start(limit_s)
    await client.get("/api/status")
    assert told(caplog) == []
