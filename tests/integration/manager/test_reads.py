"""Reads: coalesced, cached under RE Manager's uid, and never older than what the caller knows."""

import asyncio
import gzip
import json
from types import SimpleNamespace

import httpx
import msgspec
import pytest
import zstandard
from conftest import until_status

from sanic_qserver.api.lists import listed
from sanic_qserver.config.settings import ReadsConfig
from sanic_qserver.errors import ManagerTimeout, NotFound
from sanic_qserver.http.representations import preferred
from sanic_qserver.manager.bodies import Body
from sanic_qserver.manager.client.call import QueuedCall
from sanic_qserver.manager.read_cache import VALIDATED, ReadCache
from sanic_qserver.structs.requests import HistoryGet

PLAN = {"name": "count", "args": [["det1"]], "item_type": "plan"}
ENTRIES = [
    ("GET", "/api/queue/get"),
    ("GET", "/api/history/get"),
    ("GET", "/api/plans/allowed"),
    ("GET", "/api/plans/existing"),
    ("GET", "/api/devices/allowed"),
    ("GET", "/api/devices/existing"),
    ("GET", "/api/re/runs/active"),
    ("GET", "/api/lock/info"),
]


class FakeManager:
    """Answers when told to: the order of sending and answering is the subject here."""

    def __init__(self):
        self.sent = []
        self.sends_at_once = True

    def call(self, method, params=None, *, fairness_key=""):
        entry = QueuedCall(method, b"", 1.0, asyncio.get_running_loop().create_future(), fairness_key)
        entry.sent_at = float(self.sends_at_once)
        self.sent.append((method, entry.future))
        self.last = entry
        return entry


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_caller_never_joins_a_request_that_is_on_its_way():
    manager = FakeManager()
    reads = ReadCache(manager, ReadsConfig())
    first = reads.coalesce("status")
    await settle()
    second, third = reads.coalesce("status"), reads.coalesce("status")
    await settle()
    assert len(manager.sent) == 1
    manager.sent[0][1].set_result(b"old")
    await settle()
    assert first.result() == b"old"
    assert not second.done()
    assert len(manager.sent) == 2
    manager.sent[1][1].set_result(b"new")
    await settle()
    assert (second.result(), third.result()) == (b"new", b"new")


async def test_a_caller_joins_a_request_that_waits_for_its_turn():
    manager = FakeManager()
    manager.sends_at_once = False
    reads = ReadCache(manager, ReadsConfig())
    first = reads.coalesce("status")
    await settle()
    second = reads.coalesce("status")
    manager.last.sent_at = 1.0
    third = reads.coalesce("status")
    manager.sent[0][1].set_result(b"1")
    await settle()
    assert (first.result(), second.result()) == (b"1", b"1")
    assert not third.done()
    manager.sent[1][1].set_result(b"2")
    await settle()
    assert third.result() == b"2"


async def test_different_params_are_different_reads():
    manager = FakeManager()
    reads = ReadCache(manager, ReadsConfig())
    reads.coalesce("plans_allowed", {"user_group": "a"})
    reads.coalesce("plans_allowed", {"user_group": "b"})
    await settle()
    assert len(manager.sent) == 2


async def test_a_caller_who_leaves_takes_nothing_from_the_others():
    manager = FakeManager()
    reads = ReadCache(manager, ReadsConfig())
    reads.coalesce("status")
    await settle()
    leaving, staying = reads.coalesce("status"), reads.coalesce("status")
    leaving.cancel()
    manager.sent[0][1].set_result(b"1")
    await settle()
    manager.sent[1][1].set_result(b"2")
    await settle()
    assert staying.result() == b"2"


async def test_a_failure_reaches_every_caller_and_the_next_request_goes_on():
    manager = FakeManager()
    reads = ReadCache(manager, ReadsConfig())
    first = reads.coalesce("status")
    await settle()
    second = reads.coalesce("status")
    manager.sent[0][1].set_exception(ManagerTimeout("late"))
    await settle()
    with pytest.raises(ManagerTimeout):
        first.result()
    manager.sent[1][1].set_result(b"2")
    await settle()
    assert second.result() == b"2"


async def test_kept_replies_are_bounded():
    manager = FakeManager()
    reads = ReadCache(manager, ReadsConfig(kept_bytes=300))

    async def ask(group):
        task = asyncio.ensure_future(reads.read("plans_allowed", {"user_group": group}))
        await settle()
        reply = {"success": True, "plans_allowed": {"x": "y" * 100}, "plans_allowed_uid": "u"}
        manager.sent[-1][1].set_result(msgspec.json.encode(reply))
        return await task

    for group in "abcdefgh":
        await ask(group)
    assert 0 < reads.cached_bytes <= 300


async def test_a_list_that_always_changes_is_asked_for_at_once():
    manager = FakeManager()
    reads = ReadCache(manager, ReadsConfig())
    uid, asked = [0], []

    async def ask(changes):
        uid[0] += changes
        task = asyncio.ensure_future(reads.read("queue_get"))
        sent = []
        while not task.done():
            await settle()
            for method, future in manager.sent:
                sent.append(method)
                future.set_result(msgspec.json.encode({"success": True, "plan_queue_uid": str(uid[0])}))
            manager.sent.clear()
        asked.append(sent)
        return (await task).uid

    for changes in (1, 1, 1, 1, 0, 0, 0):
        assert await ask(changes) == str(uid[0])
    assert asked == [
        ["queue_get"],
        ["status", "queue_get"],
        ["status", "queue_get"],
        ["queue_get"],  # Changed twice between two looks: the uid is not worth a call.
        ["queue_get"],
        ["status"],  # It has come to rest.
        ["status"],
    ]


async def test_a_uid_is_not_taken_from_text_that_a_user_wrote(client):
    fake = '", "plan_queue_uid": "00000000-0000-0000-0000-000000000000"}'
    item = {**PLAN, "meta": {"plan_queue_uid": "fake", "note": fake}}
    assert (await client.post("/api/queue/item/add", json={"item": item})).json()["success"]
    response = await client.get("/api/queue/get")
    uid = (await client.get("/api/status")).json()["plan_queue_uid"]
    assert response.headers["ETag"].strip('"').startswith(uid)


@pytest.mark.parametrize(("verb", "path"), ENTRIES)
async def test_an_unchanged_list_is_not_sent_again(client, verb, path):
    first = await client.request(verb, path)
    assert first.json()["success"]
    assert "no-cache" in first.headers["Cache-Control"]
    again = await client.request(verb, path, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]


async def test_kept_bytes_are_given_when_nothing_changed(client):
    await client.get("/api/queue/get")
    kept = client.app.ctx.services.reads.counts["kept"]
    await client.get("/api/queue/get")
    assert client.app.ctx.services.reads.counts["kept"] == kept + 1


async def add(client, **more):
    reply = (await client.post("/api/queue/item/add", json={"item": PLAN, **more})).json()
    assert reply["success"], reply
    return reply["item"]["item_uid"]


async def edits_of_the_queue(client):
    """Each call that changes the queue, one after the other."""
    first, second, third = await add(client), await add(client, pos="front"), await add(client)
    batch = await client.post("/api/queue/item/add/batch", json={"items": [PLAN, PLAN]})
    yield "batch", batch
    yield "move", await client.post("/api/queue/item/move", json={"uid": first, "pos_dest": "front"})
    uids = [second, third]
    yield "move batch", await client.post("/api/queue/item/move/batch", json={"uids": uids, "pos_dest": "back"})
    item = {**PLAN, "item_uid": first, "kwargs": {"num": 7}}
    yield "update", await client.post("/api/queue/item/update", json={"item": item})
    yield "remove", await client.post("/api/queue/item/remove", json={"uid": first})
    yield "remove batch", await client.post("/api/queue/item/remove/batch", json={"uids": [second]})
    yield "clear", await client.post("/api/queue/clear")


async def asked_directly(client, method, **params):
    """RE Manager's own answer, past everything that is kept."""
    return msgspec.json.decode(await client.app.ctx.services.manager.request(method, params))


async def test_every_edit_of_the_queue_is_seen_at_once(client):
    async for name, reply in edits_of_the_queue(client):
        assert reply.json()["success"], (name, reply.json())
        assert (await client.get("/api/queue/get")).json() == await asked_directly(client, "queue_get"), name


async def test_the_lock_is_seen_at_once(client):
    try:
        for path, body in [("lock", {"lock_key": "k", "queue": True}), ("lock", {"lock_key": "k", "environment": True}),
                           ("unlock", {"lock_key": "k"})]:  # fmt: skip
            before = (await client.get("/api/lock/info")).headers["ETag"]
            assert (await client.post(f"/api/{path}", json=body)).json()["success"]
            after = await client.get("/api/lock/info")
            assert after.headers["ETag"] != before
            assert after.json() == await asked_directly(client, "lock_info")
    finally:
        await client.post("/api/unlock", json={"lock_key": "k"})


async def test_a_question_about_a_lock_key_is_never_answered_from_memory(client):
    await client.post("/api/lock", json={"lock_key": "k", "queue": True})
    try:
        good = await client.request("GET", "/api/lock/info", json={"lock_key": "k"})
        bad = await client.request("GET", "/api/lock/info", json={"lock_key": "x"})
        assert (good.json()["success"], bad.json()["success"]) == (True, False)
        assert "ETag" not in good.headers
    finally:
        await client.post("/api/unlock", json={"lock_key": "k"})


async def test_changed_permissions_change_the_allowed_lists_at_once(client):
    permissions = (await client.get("/api/permissions/get")).json()["user_group_permissions"]
    changed = msgspec.json.decode(msgspec.json.encode(permissions))
    changed["user_groups"]["primary"]["allowed_plans"] = [":^count$"]
    changed["user_groups"]["primary"]["allowed_devices"] = [":^det1$:?.*"]
    try:
        plans, devices = await client.get("/api/plans/allowed"), await client.get("/api/devices/allowed")
        reply = await client.post("/api/permissions/set", json={"user_group_permissions": changed})
        assert reply.json()["success"], reply.json()
        assert (await client.get("/api/permissions/get")).json()["user_group_permissions"] == changed
        fewer = await client.get("/api/plans/allowed")
        assert set(fewer.json()["plans_allowed"]) == {"count"} != set(plans.json()["plans_allowed"])
        assert set((await client.get("/api/devices/allowed")).json()["devices_allowed"]) == {"det1"}
        assert fewer.headers["ETag"] != plans.headers["ETag"]
        assert "det2" in devices.json()["devices_allowed"]
    finally:
        restore = {"user_group_permissions": permissions}
        assert (await client.post("/api/permissions/set", json=restore)).json()["success"]
    assert "det2" in (await client.get("/api/devices/allowed")).json()["devices_allowed"]
    assert (await client.post("/api/permissions/reload", json={"restore_plans_devices": True})).json()["success"]
    for path in ("plans/existing", "devices/existing"):
        assert (await client.get(f"/api/{path}")).json() == await asked_directly(client, path.replace("/", "_"))


@pytest.mark.slow
async def test_what_a_running_plan_changes_is_seen(open_environment):
    client = open_environment
    seen = {path: (await client.get(path)).headers["ETag"] for _, path in ENTRIES}
    await add(client)
    assert (await client.post("/api/queue/start")).json()["success"]
    await until_status(client, items_in_history=1, manager_state="idle")
    history = await client.get("/api/history/get")
    assert history.json() == await asked_directly(client, "history_get")
    assert len(history.json()["items"]) == 1
    assert (await client.get("/api/queue/get")).json() == await asked_directly(client, "queue_get")
    runs = await client.get("/api/re/runs/active")
    assert runs.json() == await asked_directly(client, "re_runs")
    assert runs.headers["ETag"] != seen["/api/re/runs/active"]
    for body, count in (({"size": 0}, 0), ({}, 0)):
        assert (await client.post("/api/history/clear", json=body)).json()["success"]
        assert len((await client.get("/api/history/get")).json()["items"]) == count
    script = "def plan_of_the_speed_test():\n    yield from []\n"
    before = (await client.get("/api/plans/existing")).headers["ETag"]
    task = (await client.post("/api/script/upload", json={"script": script})).json()
    assert task["success"], task
    for _ in range(100):
        if "plan_of_the_speed_test" in (await client.get("/api/plans/existing")).json()["plans_existing"]:
            break
        await asyncio.sleep(0.1)
    assert (await client.get("/api/plans/existing")).headers["ETag"] != before
    assert (await client.get("/api/plans/existing")).json() == await asked_directly(client, "plans_existing")


async def test_a_read_shows_the_callers_own_write_under_load(client):
    async def writer():
        async with httpx.AsyncClient(base_url=client.base_url, headers=client.headers, timeout=20) as own:
            for _ in range(8):
                uid = await add(own)
                items = (await own.get("/api/queue/get")).json()["items"]
                assert uid in {item["item_uid"] for item in items}

    await asyncio.gather(*(writer() for _ in range(6)))


async def test_large_lists_are_sent_compressed_to_those_who_want_it(client):
    plain = await client.get("/api/plans/allowed", headers={"Accept-Encoding": "identity"})
    tags = {plain.headers["ETag"]}
    for coding, unpack in (("gzip", gzip.decompress), ("zstd", zstandard.decompress)):
        async with client.stream("GET", "/api/plans/allowed", headers={"Accept-Encoding": coding}) as packed:
            body = b"".join([part async for part in packed.aiter_raw()])
        assert packed.headers["Content-Encoding"] == coding
        assert "Accept-Encoding" in packed.headers["Vary"]
        assert unpack(body) == plain.content
        tags.add(packed.headers["ETag"])
    assert len(tags) == 3


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [("gzip, deflate, br, zstd", "zstd"), ("gzip", "gzip"), ("gzip;q=0", ""), ("", ""), ("br", ""),
     ("zstd;q=0.1, gzip;q=0.9", "gzip"), ("gzip; q=x", ""), ("identity, zstd", "zstd")],
)  # fmt: skip
def test_the_coding_is_the_best_of_those_accepted(accepted, coding):
    assert preferred(accepted) == coding


async def test_pages_add_up_to_the_whole_queue(client):
    await client.post("/api/queue/item/add/batch", json={"items": [PLAN] * 7})
    whole = (await client.get("/api/queue/get")).json()
    pages = [(await client.get("/api/queue/get", params={"offset": n, "limit": 3})).json() for n in (0, 3, 6, 9)]
    assert [item for page in pages for item in page["items"]] == whole["items"]
    assert {page["total"] for page in pages} == {7}
    assert pages[0]["plan_queue_uid"] == whole["plan_queue_uid"]
    part = (await client.get("/api/queue/get?fields=name,item_uid&limit=1")).json()
    assert part["items"] == [{"name": "count", "item_uid": whole["items"][0]["item_uid"]}]


async def test_one_item_is_found_by_its_uid(client):
    uid = await add(client)
    reply = await client.get(f"/api/queue/item/{uid}")
    assert (reply.json()["item"]["item_uid"], reply.json()["position"]) == (uid, 0)
    missing = await client.get("/api/queue/item/nowhere")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


def test_every_kept_method_has_a_test_of_its_uid():
    assert len(VALIDATED) == len(ENTRIES)


def history_call(**params):
    """A call for a history of three items, without RE Manager; one of them holds a NaN, as its encoder may write."""
    items = [
        {"item_uid": uid, "name": "count", "result": {"time_stop": at}}
        for uid, at in zip("abc", (1.0, 2.0, 3.0), strict=True)
    ]
    text = msgspec.json.encode({"success": True, "msg": "", "items": items, "plan_history_uid": "u"})
    body = Body(text.replace(b'"time_stop":3.0', b'"time_stop":3.0,"x":NaN'), "u")

    async def kept(method, fairness_key=""):
        return body

    services = SimpleNamespace(reads=SimpleNamespace(read=kept))
    return SimpleNamespace(
        params=HistoryGet(**params), services=services, fairness_key="", endpoint=SimpleNamespace(method="history_get")
    )


@pytest.mark.parametrize(
    ("params", "uids"),
    [
        ({"since": 1.5}, "bc"),
        ({"since": "1.5"}, "bc"),
        ({"since": "a"}, "bc"),
        ({"since": 9.0}, ""),
        ({"since": "a", "limit": 1}, "b"),
        ({"offset": 2}, "c"),
        ({"limit": 0}, ""),
        ({"fields": ["item_uid"]}, "abc"),
    ],
)
async def test_a_part_of_the_history_is_what_was_asked_for(params, uids):
    reply = json.loads((await listed(history_call(**params))).json)
    assert "".join(item["item_uid"] for item in reply["items"]) == uids
    assert reply["plan_history_uid"] == "u"


async def test_the_whole_history_is_the_managers_bytes():
    assert b"NaN" in (await listed(history_call())).json


async def test_since_an_item_that_is_not_there_is_404():
    with pytest.raises(NotFound, match="since"):
        await listed(history_call(since="z"))


async def test_parts_have_tags_of_their_own():
    tags = {(await listed(history_call(**params))).tag for params in ({}, {"limit": 1}, {"limit": 2}, {"since": "a"})}
    assert len(tags) == 4


async def test_after_a_failure_half_way_the_queue_is_read_anew(client):
    reads = client.app.ctx.services.reads
    await client.get("/api/queue/get")
    await client.get("/api/queue/get")
    kept = reads.counts["kept"]
    assert kept
    reads.distrust("queue_get")
    assert (await client.get("/api/queue/get")).json()["success"]
    assert reads.counts["kept"] == kept
