"""Idempotency-Key: a call that is sent again is not done again."""

import asyncio
import signal

import httpx
import pytest
from conftest import KEY, app_of, until_connected
from servers import Instrument

from sanic_qserver.config.settings import IdempotencyConfig
from sanic_qserver.errors import BadArguments, Overloaded
from sanic_qserver.middleware.idempotency.replay import build_answers
from sanic_qserver.middleware.idempotency.stored import Kept, MemoryAnswers, State

PLAN = {"name": "count", "args": [["det1"]], "item_type": "plan"}


@pytest.fixture(params=["memory", "redis"])
async def keyed(request, sanic_client, make_config, instrument):
    """A client of a server that keeps answers in memory or in Redis, with an empty queue."""
    store = "memory" if request.param == "memory" else f"redis://127.0.0.1:{instrument.redis_port}/5"
    client = await sanic_client(app_of(make_config(idempotency={"store": store})))
    client.headers["Authorization"] = f"ApiKey {KEY}"
    await until_connected(client)
    await client.post("/api/queue/clear")
    client.store = request.param
    return client


def key(client, name):
    return {"Idempotency-Key": f'"{client.store}-{id(client)}-{name}"'}


async def add(client, name, item=PLAN, **options):
    return await client.post("/api/queue/item/add", json={"item": item}, headers=key(client, name), **options)


async def size(client):
    return len((await client.get("/api/queue/get")).json()["items"])


async def test_the_same_call_is_done_once_and_answered_twice(keyed):
    first, second = await add(keyed, "a"), await add(keyed, "a")
    assert first.json()["success"]
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"
    assert second.content == first.content
    assert await size(keyed) == 1


async def test_another_call_with_the_same_key_is_refused(keyed):
    await add(keyed, "b")
    other = await add(keyed, "b", {**PLAN, "kwargs": {"num": 2}})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    elsewhere = await keyed.post("/api/queue/clear", headers=key(keyed, "b"))
    assert elsewhere.status_code == 422
    assert await size(keyed) == 1


async def test_calls_at_the_same_time_are_done_once(keyed):
    replies = await asyncio.gather(*(add(keyed, "c") for _ in range(10)))
    assert len({reply.content for reply in replies}) == 1
    assert sum("Idempotency-Replayed" in reply.headers for reply in replies) == 9
    assert await size(keyed) == 1


async def test_a_refusal_of_the_manager_is_an_answer_and_kept(keyed):
    first, second = await add(keyed, "d", {"name": "nope"}), await add(keyed, "d", {"name": "nope"})
    assert not first.json()["success"]
    assert second.content == first.content
    assert second.headers["Idempotency-Replayed"] == "true"


async def test_the_call_goes_on_when_its_client_leaves(keyed):
    async with httpx.AsyncClient(base_url=keyed.base_url, headers=keyed.headers) as leaving:
        leaving.store = keyed.store
        task = asyncio.ensure_future(leaving.post("/api/queue/item/add", json={"item": PLAN}, headers=key(keyed, "e")))
        await asyncio.sleep(0.004)
        task.cancel()
    again = await add(keyed, "e")
    assert again.json()["success"]
    assert await size(keyed) == 1


@pytest.mark.parametrize("bad", ["", '""', "x" * 256, "ä".encode(), "a\tb"])
async def test_a_key_that_is_none_is_refused(client, bad):
    reply = await client.post("/api/queue/clear", headers={"Idempotency-Key": bad})
    assert (reply.status_code, reply.json()["code"]) == (400, "bad_arguments")


async def test_reads_do_not_look_at_keys(keyed):
    for _ in range(2):
        reply = await keyed.get("/api/status", headers=key(keyed, "f"))
        assert "Idempotency-Replayed" not in reply.headers


async def test_what_was_not_sent_leaves_no_trace(keyed):
    headers = key(keyed, "g")
    bad = await keyed.post("/api/queue/mode/set", json={"mode": "default", "loop": True}, headers=headers)
    assert bad.status_code == 400
    assert (await keyed.post("/api/queue/mode/set", json={"mode": "default"}, headers=headers)).json()["success"]


async def test_several_workers_without_a_common_store_refuse_keys(make_config):
    answers = build_answers(make_config(server={"workers": 2}))
    with pytest.raises(BadArguments, match=r"\[idempotency\] store"):
        await answers.claim("k", "f")


@pytest.mark.slow
async def test_an_unknown_outcome_stays_unknown_and_says_what_is_seen(sanic_client, make_config, tmp_path):
    with Instrument(tmp_path) as own:
        config = make_config(
            manager={"control_address": own.control_address, "info_address": own.info_address,
                     "deadlines_s": {"queue_item_add": 0.5}, "short_deadline_s": 10.0}
        )  # fmt: skip
        client = await sanic_client(app_of(config))
        client.headers["Authorization"] = f"ApiKey {KEY}"
        client.store = "memory"
        await until_connected(client)
        await client.post("/api/queue/clear")
        own.manager.signal(signal.SIGSTOP)
        try:
            lost = await add(client, "h")
        finally:
            own.manager.signal(signal.SIGCONT)
        assert lost.status_code == 408
        for _ in range(50):
            if await size(client):
                break
        again = await add(client, "h")
        assert again.status_code == 409
        assert len(again.json()["equal_item_uids"]) == 1
        await client.post("/api/queue/clear")
        again = await add(client, "h")
        assert (again.status_code, again.json()["outcome"]) == (409, "not_found")
        assert await size(client) == 0


async def test_memory_is_bounded_and_forgets_in_time():
    now = [0.0]
    answers = MemoryAnswers(IdempotencyConfig(keep_s=10, max_keys=3, max_bytes=100), clock=lambda: now[0])
    for name in "abc":
        assert await answers.claim(name, "f") is None
        await answers.keep(name, Kept(state=State.DONE, fingerprint="f", body=b"x" * 20))
    assert await answers.claim("d", "f") is None
    assert await answers.claim("a", "f") is None  # The oldest made room.
    assert (await answers.claim("c", "f")).body == b"x" * 20
    assert await answers.claim("e", "f") is None
    with pytest.raises(Overloaded):  # All that are kept are running.
        await answers.claim("g", "f")
    await answers.release("e")
    await answers.keep("d", Kept(state=State.DONE, fingerprint="f", body=b"x" * 101))
    now[0] = 11.0
    assert await answers.claim("d", "f") is None


async def test_a_store_that_is_away_refuses_calls_with_keys_only(sanic_client, make_config):
    client = await sanic_client(app_of(make_config(idempotency={"store": "redis://127.0.0.1:1/0"})))
    client.headers["Authorization"] = f"ApiKey {KEY}"
    await until_connected(client)
    reply = await client.post("/api/queue/clear", headers={"Idempotency-Key": "k"})
    assert (reply.status_code, reply.json()["code"]) == (503, "overloaded")
    assert (await client.post("/api/queue/clear")).json()["success"]
