"""Hooks around submissions, start, stop and status; failures of each are contained."""

import asyncio
import logging
import threading

import pytest
from custom_modules import make, problem_of, serve, write_module  # noqa: F401

from sanic_qserver.errors import ConfigError
from sanic_qserver.extensions.watchdog import Watchdog

PLAN = {"name": "count", "args": [["det1"]], "item_type": "plan"}

RULES = """
import time
from sanic_qserver.extension_api import Refusal

seen = []

def limit(item, submission):
    if item.get("kwargs", {}).get("num", 0) > 10:
        raise Refusal("num may be 10 at most")

async def sign(item, submission):
    if item["item_type"] == "plan":
        return {**item, "meta": {"asked_by": submission.access.principal.name}}

def wait_or_fail(item, submission):
    delay = item.get("kwargs", {}).get("delay")
    if delay == 1:
        raise KeyError("a secret")
    if delay == 2:
        time.sleep(3)

async def hang_or_block(item, submission):
    delay = item.get("kwargs", {}).get("delay")
    if delay == 3:
        import asyncio
        await asyncio.sleep(30)
    if delay == 4:
        time.sleep(1.2)
    if delay == 5:
        return {**item, "kwargs": {"num": {1, 2}}} if False else {**item, "oops": object()}

def after(reply, submission):
    seen.append((submission.method, submission.count, reply["success"]))
    if submission.count > 1:
        raise RuntimeError("after")

def register(host):
    for hook in (limit, sign, wait_or_fail, hang_or_block):
        host.before_submit(hook)
    host.after_submit(after)
"""


@pytest.fixture
async def client(write_module, serve):
    return await serve(write_module("ext_rules", RULES), required=True, hook_timeout_s=0.5, blocked_after_s=0.3)


def plan(**kwargs):
    return {**PLAN, "kwargs": kwargs}


async def queue_of(client):
    return (await client.get("/api/queue/get")).json()["items"]


async def test_an_item_is_changed_before_re_manager_sees_it(client):
    assert (await client.post("/api/queue/item/add", json={"item": PLAN})).json()["success"]
    (item,) = await queue_of(client)
    assert item["meta"] == {"asked_by": "UNAUTHENTICATED_SINGLE_USER"}


@pytest.mark.parametrize("path", ["/api/queue/item/add", "/api/queue/item/execute", "/api/queue/item/update"])
async def test_a_refused_item_is_answered_as_re_manager_refuses(client, path):
    reply = await client.post(path, json={"item": plan(num=11)})
    assert reply.status_code == 200
    assert reply.json() == {
        "success": False, "msg": "Refused: num may be 10 at most", "item": plan(num=11), "qsize": None,
    }  # fmt: skip
    assert await queue_of(client) == []


async def test_a_batch_with_a_refused_item_adds_nothing_and_says_which(client):
    reply = (await client.post("/api/queue/item/add/batch", json={"items": [PLAN, plan(num=11)]})).json()
    assert not reply["success"]
    assert [result["success"] for result in reply["results"]] == [True, False]
    assert reply["results"][1]["msg"] == "num may be 10 at most"
    assert await queue_of(client) == []


async def test_the_rows_of_a_sheet_pass_the_hooks(client):
    sheet = b"plan,args,num\ncount,['det1'],2\ncount,['det1'],12\n"
    reply = (await client.post("/api/queue/upload/spreadsheet", files={"spreadsheet": ("a.csv", sheet)})).json()
    assert not reply["success"]
    assert [(row["row"], row["msg"]) for row in reply["rows"]] == [(2, ""), (3, "num may be 10 at most")]
    good = sheet.replace(b"12", b"2")
    reply = (await client.post("/api/queue/upload/spreadsheet", files={"spreadsheet": ("a.csv", good)})).json()
    assert reply["success"]
    assert all("asked_by" in item["meta"] for item in await queue_of(client))


@pytest.mark.parametrize(
    ("delay", "said"),
    [(1, "ext_rules.wait_or_fail' raised KeyError"), (2, "did not end within"), (3, "did not end within"),
     (4, "blocked the server"), (5, "ext_rules.hang_or_block' raised TypeError")],
)  # fmt: skip
async def test_a_hook_that_fails_fails_its_own_request_only(client, delay, said):
    failing = asyncio.ensure_future(client.post("/api/queue/item/add", json={"item": plan(delay=delay)}))
    good = await client.post("/api/queue/item/add", json={"item": PLAN})
    failed = await failing
    assert failed.status_code == 502
    problem = problem_of(failed)
    assert problem["code"] == "extension_failed"
    assert problem["extension"] == "ext_rules"
    assert said in problem["detail"]
    assert "secret" not in failed.text
    assert good.json()["success"]
    assert len(await queue_of(client)) == 1


async def test_a_hook_that_blocks_the_loop_is_logged_with_its_stack(client, caplog):
    with caplog.at_level(logging.ERROR, "sanic_qserver.extensions"):
        await client.post("/api/queue/item/add", json={"item": plan(delay=4)})
    (record,) = [record for record in caplog.records if "event loop has been blocked" in record.getMessage()]
    assert "by extension 'ext_rules'" in record.getMessage()
    assert "time.sleep(1.2)" in record.getMessage()


async def test_a_loop_that_waits_is_not_called_blocked(caplog):
    watchdog = Watchdog({}, 100)
    watchdog.start()
    reporting = threading.Timer(0.1, watchdog._report, [1.0])  # Then the loop waits, below.
    reporting.start()
    await asyncio.sleep(0.3)
    reporting.join()
    watchdog.stop()
    assert "blocked" not in caplog.text


async def test_hooks_after_a_submission_see_the_reply_and_cannot_spoil_it(client):
    import ext_rules

    ext_rules.seen.clear()
    assert (await client.post("/api/queue/item/add", json={"item": PLAN})).json()["success"]
    assert (await client.post("/api/queue/item/add/batch", json={"items": [PLAN, PLAN]})).json()["success"]
    assert ext_rules.seen == [("queue_item_add", 1, True), ("queue_item_add_batch", 2, True)]


async def test_what_is_no_item_is_left_to_re_manager(client):
    reply = (await client.post("/api/queue/item/add/batch", json={"items": []})).json()
    assert "success" in reply
    assert (await client.post("/api/queue/item/add", json={"item": 3})).status_code == 400


LIFE = """
import asyncio
events = []

def register(host):
    @host.on_start
    async def start():
        events.append("start")
        assert not host.http.is_closed
    @host.on_start
    def fail():
        raise OSError("no such device")
    @host.on_status
    def status(status):
        events.append(status["manager_state"])
    @host.on_status
    async def broken(status):
        raise ValueError("broken")
    @host.on_stop
    async def stop():
        events.append("stop")
"""


async def test_modules_are_told_of_start_status_and_stop(write_module, make, sanic_client):
    app = make(write_module("ext_life", LIFE), required=True)
    await sanic_client(app)
    import ext_life

    for _ in range(100):
        if "idle" in ext_life.events:
            break
        await asyncio.sleep(0.05)
    assert ext_life.events[:2] == ["start", "idle"]
    assert ["ext_life.fail' raised OSError" in text for text in app.ctx.services.warnings] == [True]
    await app.ctx.extensions.stop()
    assert ext_life.events[-1] == "stop"
    await app.ctx.extensions.stop()


OWN_ADD = """
from sanic_qserver.extension_api import Endpoint, Params, Refusal, Scope, Stamp, json_bytes

class Add(Params, frozen=True, kw_only=True):
    "Add a plan."
    item: dict
    user: str = ""
    user_group: str = ""

async def add(call):
    "Add a plan."
    return await call.ask()

def register(host):
    host.add_endpoint(Endpoint("POST", "/samples/add", Scope.WRITE_QUEUE_EDIT, "queue_item_add", Add, Stamp.CALLER,
                               serve=add))

    @host.before_submit
    def check(item, submission):
        if item["name"] == "scan":
            raise Refusal("no scans")
"""


async def test_a_row_of_a_module_that_forwards_adds_gets_hooks_and_an_idempotency_key(write_module, serve):
    client = await serve(write_module("ext_own_add", OWN_ADD), required=True)
    plan = {"item_type": "plan", "name": "count", "args": [["det1"]]}
    refused = (await client.post("/api/samples/add", json={"item": {**plan, "name": "scan"}})).json()
    assert (refused["success"], refused["msg"]) == (False, "Refused: no scans")
    for _ in range(2):
        reply = await client.post("/api/samples/add", json={"item": plan}, headers={"Idempotency-Key": "one"})
        assert reply.json()["success"], reply.text
    assert len((await client.get("/api/queue/get")).json()["items"]) == 1


def test_a_row_of_a_module_that_forwards_adds_without_the_layers_does_not_start(write_module, make):
    bare = OWN_ADD.replace("serve=add))", "serve=add, around=()))")
    with pytest.raises(ConfigError, match="POST /samples/add: a row with RE Manager's method 'queue_item_add' needs"):
        make(write_module("ext_bare_add", bare), required=True)
