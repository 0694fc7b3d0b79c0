"""What happens when RE Manager, or its Redis, is away, dies, hangs or comes back. With real processes."""

import asyncio
import signal
import time
from collections import Counter

import httpx
import pytest
from conftest import KEY, app_of, until_connected
from servers import Instrument

from sanic_qserver.config.settings import load

pytestmark = pytest.mark.slow
HEADERS = {"Authorization": f"ApiKey {KEY}"}


@pytest.fixture(scope="module")
def breakable(tmp_path_factory):
    """An instrument that the tests of this module may break. Each starts with both parts alive."""
    with Instrument(tmp_path_factory.mktemp("breakable")) as instrument:
        yield instrument


@pytest.fixture
async def server(breakable, sanic_client):
    """A server for it, with short deadlines."""
    manager = {"short_deadline_s": 1.0, "queue_wait_s": 0.5, "queue_limit": 50}
    overrides = {"auth": {"single_user_api_key": KEY}, "manager": manager}
    client = await sanic_client(app_of(load(environment=breakable.environment, overrides=overrides)))
    client.headers.update(HEADERS)
    if breakable.manager is not None:
        await until_connected(client)
        await client.post("/api/queue/clear")
    return client


def item(tag):
    return {"item": {"item_type": "plan", "name": "count", "args": [["det1"]], "meta": {"tag": tag}}}


async def until_answers(client, timeout_s=30):
    until = time.monotonic() + timeout_s
    while (await client.get("/api/status")).status_code != 200:
        assert time.monotonic() < until
        await asyncio.sleep(0.1)


async def until_added(client, tag, timeout_s=40):
    """Add an item, again while RE Manager or its Redis is not back yet. The tag counts the tries."""
    until = time.monotonic() + timeout_s
    number = 0
    while True:
        response = await client.post("/api/queue/item/add", json=item(f"{tag} {number}"))
        if response.status_code == 200 and response.json()["success"]:
            return
        assert time.monotonic() < until, response.text
        await asyncio.sleep(0.3)
        number += 1


async def tags_in_queue(client):
    items = (await client.get("/api/queue/get")).json()["items"]
    return Counter(item["meta"]["tag"] for item in items)


async def test_a_manager_that_is_absent_at_start_is_found_when_it_comes(breakable, sanic_client):
    breakable.manager.stop()
    breakable.manager = None
    overrides = {"auth": {"single_user_api_key": KEY}, "manager": {"queue_wait_s": 0.3}}
    client = await sanic_client(app_of(load(environment=breakable.environment, overrides=overrides)))
    client.headers.update(HEADERS)
    first = await client.get("/api/status")
    assert first.status_code == 503
    assert first.json()["code"] == "manager_unavailable"
    assert breakable.control_address in first.json()["detail"]
    assert "Retry-After" in first.headers
    assert (await client.get("/healthz")).status_code == 200
    assert (await client.get("/readyz")).status_code == 503
    await asyncio.to_thread(breakable.start_manager)
    await until_answers(client)
    assert (await client.get("/readyz")).status_code == 200


async def test_requests_in_flight_fail_when_the_manager_is_killed_and_none_is_executed_twice(server, breakable):
    statuses = {}

    async def add(number):
        started = time.monotonic()
        response = await server.post("/api/queue/item/add", json=item(number))
        statuses[number] = response.status_code
        assert time.monotonic() - started < 10
        if response.status_code != 200:
            assert response.status_code in (408, 503)
            unknown = "outcome is unknown" in response.json()["detail"]
            assert unknown is (response.status_code == 408), response.json()

    adds = [asyncio.create_task(add(number)) for number in range(60)]
    await asyncio.sleep(0.05)
    breakable.manager.signal(signal.SIGKILL)
    await asyncio.gather(*adds)
    assert {408, 503} & set(statuses.values())
    breakable.manager.stop()
    await asyncio.to_thread(breakable.start_manager)
    await until_answers(server)
    tags = await tags_in_queue(server)
    for number, status in statuses.items():
        assert tags[number] <= 1
        if status == 200:
            assert tags[number] == 1
        if status == 503:
            assert tags[number] == 0
    await until_added(server, "after")


async def test_late_replies_of_a_stopped_manager_harm_nobody(server, breakable):
    breakable.manager.signal(signal.SIGSTOP)
    try:
        hung = await asyncio.gather(
            *(server.post("/api/queue/item/add", json=item(number)) for number in range(4)),
            server.get("/api/queue/get"),
        )
        # An add that waits for the one before it, to go as a batch, was not sent.
        assert {response.status_code for response in hung} <= {408, 503}
        sent = [number for number, response in enumerate(hung[:4]) if response.status_code == 408]
        assert sent
        for number in sent:
            assert "Request timeout" in hung[number].json()["detail"]
            assert "outcome is unknown" in hung[number].json()["detail"]
        assert "unknown" not in hung[4].json()["detail"]
    finally:
        breakable.manager.signal(signal.SIGCONT)
    await until_answers(server)
    # What was sent was executed after all, once; every later caller gets the answer to their own call.
    assert await tags_in_queue(server) == Counter(sent)
    replies = await asyncio.gather(
        *(server.post("/api/queue/item/add", json=item(f"later {number}")) for number in range(20))
    )
    assert [reply.json()["item"]["meta"]["tag"] for reply in replies] == [f"later {number}" for number in range(20)]


async def test_a_hung_manager_gets_no_more_calls_than_the_window(server, breakable):
    window = server.app.ctx.services.manager.config.window
    breakable.manager.signal(signal.SIGSTOP)
    try:
        responses = []
        for _ in range(4):
            calls = (server.post("/api/queue/item/add", json=item("hung")) for _ in range(10))
            responses += await asyncio.gather(*calls)
    finally:
        breakable.manager.signal(signal.SIGCONT)
    counts = Counter(response.status_code for response in responses)
    assert counts[408] >= 1
    assert counts[408] + counts[503] == 40
    await until_answers(server)
    sent = sum((await tags_in_queue(server)).values())
    # Group commit may put several waiting adds of one user into one call.
    assert sent <= max(window, counts[408])


async def test_two_hundred_clients_of_a_hung_manager_are_bounded_and_health_stays_good(server, breakable):
    breakable.manager.signal(signal.SIGSTOP)
    try:
        async with httpx.AsyncClient(
            base_url=server.base_url, headers=HEADERS, timeout=20, limits=httpx.Limits(max_connections=210)
        ) as many:
            calls = [asyncio.create_task(many.post("/api/queue/stop/cancel")) for _ in range(200)]
            await asyncio.sleep(0.2)
            manager = server.app.ctx.services.manager
            assert manager.waiting_count <= 50
            assert manager.in_flight_count <= manager.config.window
            assert (await server.get("/healthz")).status_code == 200
            responses = await asyncio.gather(*calls)
    finally:
        breakable.manager.signal(signal.SIGCONT)
    counts = Counter(response.status_code for response in responses)
    assert counts[503] >= 100
    assert counts[503] + counts[408] + counts[200] == 200
    assert all("Retry-After" in response.headers for response in responses if response.status_code == 503)
    await until_answers(server)


async def test_the_server_answers_while_the_manager_has_lost_its_redis(server, breakable):
    breakable.redis.stop()
    try:
        response = await server.post("/api/queue/item/add", json=item("lost"))
        assert response.status_code in (200, 408, 503)
        if response.status_code == 200:
            assert response.json()["success"] is False
        assert (await server.get("/healthz")).status_code == 200
    finally:
        await asyncio.to_thread(breakable.start_redis)
    await until_added(server, "found")


async def test_a_manager_that_is_replaced_is_found_again(server, breakable):
    before = (await server.get("/api/status")).json()["plan_queue_uid"]
    breakable.manager.stop()
    await asyncio.to_thread(breakable.start_manager)
    await until_answers(server)
    assert (await server.get("/api/status")).json()["plan_queue_uid"] != before


async def test_a_call_while_the_manager_is_away_is_never_executed_later(server, breakable):
    await server.post("/api/queue/clear")
    breakable.manager.stop()
    response = await server.post("/api/queue/item/add", json=item("ghost"))
    assert response.status_code in (408, 503)
    await asyncio.to_thread(breakable.start_manager)
    await until_answers(server)
    assert "ghost" not in await tags_in_queue(server)
