"""Idempotency-Key: a call that is sent again is not done again."""

import asyncio
import signal

import httpx
import pytest
from conftest import KEY, app_of, until_connected
from msgspec import structs
from servers import Instrument

from sanic_qserver.config.settings import IdempotencyConfig
from sanic_qserver.errors import Overloaded, TooManyRequests
from sanic_qserver.middleware.idempotency.claims import Claims
from sanic_qserver.middleware.idempotency.keys import LEASE_S, Kept, Key, State, StoreUnavailable
from sanic_qserver.middleware.idempotency.memory import MemoryKeys
from sanic_qserver.middleware.idempotency.redis import RedisKeys
from sanic_qserver.middleware.idempotency.sqlite import SqliteKeys

PLAN = {"name": "count", "args": [["det1"]], "item_type": "plan"}


@pytest.fixture(params=["memory", "sqlite", "redis"])
async def keyed(request, sanic_client, make_config, instrument, tmp_path):
    """A client of a server that keeps answers in memory, in a file or in Redis, with an empty queue."""
    stores = {"sqlite": f"sqlite:///{tmp_path}/keys.sqlite", "redis": f"redis://127.0.0.1:{instrument.redis_port}/5"}
    store = stores.get(request.param, "memory")
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
    bad = await keyed.post("/api/queue/mode/set", json={"mode": "default", "nope": 1}, headers=headers)
    assert bad.status_code == 400
    assert (await keyed.post("/api/queue/mode/set", json={"mode": "default"}, headers=headers)).json()["success"]


async def test_who_sends_no_key_makes_no_file(sanic_client, make_config, tmp_path):
    file = tmp_path / "keys.sqlite"
    client = await sanic_client(app_of(make_config(idempotency={"store": f"sqlite:///{file}"})))
    client.headers["Authorization"] = f"ApiKey {KEY}"
    await until_connected(client)
    assert (await client.post("/api/queue/clear")).json()["success"]
    assert not file.exists()
    assert (await client.post("/api/queue/clear", headers={"Idempotency-Key": "k"})).json()["success"]
    assert file.stat().st_mode & 0o777 == 0o600


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
        assert again.headers["Retry-After"]
        await client.post("/api/queue/clear")
        again = await add(client, "h")
        assert (again.status_code, again.json()["outcome"]) == (409, "not_found")
        assert await size(client) == 0


@pytest.fixture(params=["memory", "sqlite", "redis"])
async def make_store(request, instrument, tmp_path):
    """Make stores that hold the same keys: as several workers have them. Memory has one worker."""
    made = []

    async def make(**options):
        redis = f"redis://127.0.0.1:{instrument.redis_port}/6"
        config = IdempotencyConfig(store=redis, **options)
        if request.param == "redis":
            made.append(RedisKeys(config))
        else:
            kinds = {"sqlite": lambda: SqliteKeys(tmp_path / "k.sqlite", config), "memory": lambda: MemoryKeys(config)}
            made.append(kinds[request.param]())
        return made[-1]

    make.kind = request.param
    yield make
    for store in made:
        if request.param == "redis":
            await store._redis.flushdb()
        await store.close()


ANN, BOB = "ann", "bob"


async def test_a_principals_budget_is_theirs_alone_and_no_key_is_forgotten(make_store):
    store = await make_store(max_keys=3, max_bytes=20_000)
    for name in "abc":
        assert await store.claim(Key(ANN, name), "w.1", "f") is None
        await store.keep(Key(ANN, name), "w.1", Kept(state=State.DONE, fingerprint="f", body=b"x" * 900))
    with pytest.raises(TooManyRequests, match="3 Idempotency-Keys") as refused:
        await store.claim(Key(ANN, "d"), "w.2", "f")
    assert int(refused.value.headers["Retry-After"]) > 80_000
    assert await store.claim(Key(BOB, "a"), "w.3", "f") is None  # Another principal's key of this name.
    large = b'{"success":true,"msg":"","item":{"item_uid":"u1","x":"%b"}}' % (b"x" * 30_000)
    await store.keep(Key(BOB, "a"), "w.3", Kept(state=State.DONE, fingerprint="f", body=large))
    known = await store.claim(Key(BOB, "a"), "w.4", "f")
    assert known.state is State.DROPPED
    assert b'"item_uids":["u1"]' in known.body
    for name in "abc":
        assert (await store.claim(Key(ANN, name), "w.5", "f")).body == b"x" * 900


async def test_the_oldest_answers_of_a_principal_make_room_for_their_newest(make_store):
    if make_store.kind == "redis":
        pytest.skip("Redis bounds each answer, not their sum")
    store = await make_store(max_bytes=20_000)
    for number in range(50):
        assert await store.claim(Key(ANN, str(number)), "w.1", "f") is None
        await store.keep(Key(ANN, str(number)), "w.1", Kept(state=State.DONE, fingerprint="f", body=b"x" * 1000))
    states = [(await store.claim(Key(ANN, str(number)), "w.2", "f")).state for number in range(50)]
    assert states[0] is State.DROPPED
    assert states[-1] is State.DONE
    assert set(states) == {State.DONE, State.DROPPED}


async def test_a_key_of_a_worker_that_is_gone_becomes_unknown_when_its_lease_ends(make_store):
    if make_store.kind == "memory":
        pytest.skip("memory ends with its worker")
    first, second = await make_store(), await make_store()
    await first.renew("gone")
    assert await first.claim(Key(ANN, "k"), "gone.1", "f") is None
    assert (await second.claim(Key(ANN, "k"), "here.1", "f")).state is State.RUNNING
    async with asyncio.timeout(LEASE_S + 5):
        while (await second.claim(Key(ANN, "k"), "here.2", "f")).state is State.RUNNING:
            await asyncio.sleep(0.2)
    known = await first.claim(Key(ANN, "k"), "late.1", "f")
    assert known.state is State.UNKNOWN
    await first.keep(Key(ANN, "k"), "gone.1", Kept(state=State.DONE, fingerprint="f", body=b"after all"))
    assert (await second.claim(Key(ANN, "k"), "here.3", "f")).body == b"after all"


async def test_a_release_that_comes_late_leaves_a_later_claim_alone(make_store):
    if make_store.kind == "memory":
        pytest.skip("nothing comes late in one process")
    store = await make_store()
    await store.renew("w")
    assert await store.claim(Key(ANN, "k"), "w.1", "f") is None
    assert await store.claim(Key(ANN, "k"), "w.2", "f") is None  # The first was void: its worker says so.
    await store.release(Key(ANN, "k"), "w.1")
    assert (await store.claim(Key(ANN, "k"), "other.1", "f")).state is State.RUNNING
    await store.release(Key(ANN, "k"), "w.2")
    assert await store.claim(Key(ANN, "k"), "other.2", "f") is None


class Flaky(MemoryKeys):
    """A store that is away at times."""

    is_away = False

    async def keep(self, key, claim, kept):
        await self.renew("")
        await super().keep(key, claim, kept)

    async def release(self, key, claim):
        await self.renew("")
        await super().release(key, claim)

    async def renew(self, worker):
        if self.is_away:
            raise StoreUnavailable("away")


async def test_what_the_store_could_not_be_told_is_told_again_and_known_meanwhile():
    store = Flaky(IdempotencyConfig())
    claims, other = Claims(store), Claims(store)
    done, free = Key(ANN, "done"), Key(ANN, "free")
    assert await claims.claim(done, "f") is None
    assert await claims.claim(free, "f") is None
    store.is_away = True
    await claims.keep(done, Kept(state=State.DONE, fingerprint="f", body=b"answer"))
    await claims.release(free)
    assert (await claims.claim(done, "f")).body == b"answer"
    with pytest.raises(Overloaded):
        await other.claim(Key(ANN, "new"), "f")
    store.is_away = False
    async with asyncio.timeout(10):
        while claims._mine:
            await asyncio.sleep(0.05)
    assert (await other.claim(done, "f")).body == b"answer"
    assert await other.claim(free, "f") is None
    await claims.close()
    await other.close()


async def test_nothing_is_sent_under_a_lease_that_has_ended():
    now = [100.0]
    claims = Claims(MemoryKeys(IdempotencyConfig()), clock=lambda: now[0])
    assert not claims.may_send()
    await claims.claim(Key(ANN, "k"), "f")
    assert claims.may_send()
    now[0] += LEASE_S + 0.1
    assert not claims.may_send()
    await claims.release(Key(ANN, "k"))
    assert claims.refused_at(Key(ANN, "k")) == now[0]
    await claims.close()


async def test_a_store_that_is_away_refuses_calls_with_keys_only(sanic_client, make_config):
    client = await sanic_client(app_of(make_config(idempotency={"store": "redis://127.0.0.1:1/0"})))
    client.headers["Authorization"] = f"ApiKey {KEY}"
    await until_connected(client)
    reply = await client.post("/api/queue/clear", headers={"Idempotency-Key": "k"})
    assert (reply.status_code, reply.json()["code"]) == (503, "overloaded")
    assert (await client.post("/api/queue/clear")).json()["success"]


@pytest.mark.parametrize("is_stamped", [False, True])
async def test_what_became_of_an_unknown_call_is_found_although_policies_add_to_items(
    is_stamped, sanic_client, make_config
):
    client = await sanic_client(app_of(make_config(items={"stamp": is_stamped})))
    client.headers["Authorization"] = f"ApiKey {KEY}"
    client.store = "memory"
    await until_connected(client)
    await client.post("/api/queue/clear")
    item = {**PLAN, "meta": {"number": 7}}
    added = (await add(client, "stamped", item)).json()["item"]
    claims = client.app.ctx.services.claims
    for owner in claims.store._owners.values():
        for name, (kept, until) in owner.keys.items():
            owner.keys[name] = structs.replace(kept, state=State.UNKNOWN, body=b"cut off"), until
    again = await add(client, "stamped", item)
    if is_stamped:
        assert (again.status_code, again.json()["item"]) == (200, added)
    else:
        assert (again.status_code, again.json()["equal_item_uids"]) == (409, [added["item_uid"]])
    assert await size(client) == 1
