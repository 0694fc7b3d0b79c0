"""Verdicts are RE Manager's own, and asking adds nothing."""

import asyncio
import json

import msgspec
import pytest

from sanic_qserver.api.items.verdicts import PIECE, Submitter, Validation
from sanic_qserver.errors import ValidationBroken

GOOD = {"item_type": "plan", "name": "count", "args": [["det1", "det2"]], "kwargs": {"num": 3}}
BAD = [
    {"item_type": "plan", "name": "no_such_plan"},
    {"item_type": "plan", "name": "count", "args": [["det1"]], "kwargs": {"num": "five"}},
    {"item_type": "plan", "name": "count", "kwargs": {"unknown": 1}},
    {"item_type": "plan", "name": "move_then_count", "args": [["motor1"], ["det1"], [11]]},
    {"item_type": "plan", "name": "count", "args": [["det1"]], "meta": "text"},
    {"item_type": "instruction", "name": "dance"},
    {"item_type": "cake", "name": "count"},
    {"name": "count"},
    {},
]


async def judge(client, *items):
    reply = await client.post("/api/queue/item/validate/batch", json={"items": list(items)})
    assert reply.status_code == 200, reply.text
    return reply.json()


async def queue_uid(client):
    return (await client.get("/api/status")).json()["plan_queue_uid"]


@pytest.mark.parametrize("item", BAD, ids=str)
async def test_a_verdict_has_the_words_with_which_re_manager_refuses_the_item(client, item):
    verdict = (await client.post("/api/queue/item/validate", json={"item": item})).json()
    batch = (await client.post("/api/queue/item/add/batch", json={"items": [item]})).json()
    assert verdict["success"] is True
    assert verdict["valid"] is False
    assert verdict["msg"] == batch["results"][0]["msg"]
    assert verdict["item"] == item


async def test_a_valid_item_is_valid_alone_and_beside_bad_ones(client):
    assert (await client.post("/api/queue/item/validate", json={"item": GOOD})).json() == {
        "success": True, "valid": True, "msg": "", "item": GOOD,
    }  # fmt: skip
    found = await judge(client, GOOD, *BAD, GOOD)
    assert [verdict["valid"] for verdict in found["results"]] == [True, *[False] * len(BAD), True]
    assert found["valid"] is False
    assert found["msg"] == f"{len(BAD)} of {len(BAD) + 2} items are not valid"


async def test_asking_adds_nothing_and_changes_nothing(client):
    before = await queue_uid(client)
    items = [GOOD] * (2 * PIECE + 3)
    found = await judge(client, *items)
    assert found["valid"] is True
    assert found["msg"] == ""
    assert len(found["results"]) == len(items)
    assert await queue_uid(client) == before
    assert (await client.get("/api/queue/get")).json()["items"] == []


async def test_nothing_to_judge_is_valid(client):
    assert await judge(client) == {"success": True, "valid": True, "msg": "", "results": []}


async def test_a_locked_queue_needs_its_key(client):
    body = {"lock_key": "k", "queue": True}
    assert (await client.post("/api/lock", json=body)).json()["success"]
    try:
        refused = await judge(client, GOOD)
        assert refused["success"] is False
        assert "locked" in refused["msg"].lower()
        alone = (await client.post("/api/queue/item/validate", json={"item": GOOD})).json()
        assert (alone["success"], alone["valid"], alone["msg"]) == (False, False, refused["msg"])
        reply = await client.post("/api/queue/item/validate", json={"item": GOOD, "lock_key": "k"})
        assert reply.json()["valid"] is True
    finally:
        assert (await client.post("/api/unlock", json={"lock_key": "k"})).json()["success"]


@pytest.mark.parametrize("body", [{}, {"item": 1}, {"item": [GOOD]}, {"item": GOOD, "more": 1}])
async def test_bad_arguments_name_the_field(client, body):
    reply = await client.post("/api/queue/item/validate", json=body)
    assert reply.status_code == 400
    assert "item" in reply.json()["detail"] or "more" in reply.json()["detail"]


async def test_reads_go_between_the_pieces_of_a_long_question(client):
    order = []

    async def ask():
        await judge(client, *[GOOD] * (8 * PIECE))
        order.append("verdicts")

    async def read():
        await client.get("/api/queue/item/get", params={"pos": "front"})
        order.append("read")

    question = asyncio.ensure_future(ask())
    while client.app.ctx.services.manager.in_flight_count == 0:
        await asyncio.sleep(0)
    await read()
    await question
    assert order == ["read", "verdicts"]


class AcceptsEverything:
    """An RE Manager of the future that adds what it should refuse. No real one does: it has to be played."""

    def __init__(self):
        self.asked = []

    async def request(self, method, params, *, fairness_key):
        self.asked.append((method, msgspec.to_builtins(params)))
        items = [{"item_uid": str(number)} for number in range(2)]
        return json.dumps({"success": True, "msg": "", "items": items, "results": []}).encode()


async def test_what_was_added_against_the_rule_is_removed_and_validation_stays_off():
    manager = AcceptsEverything()
    validation = Validation(manager)
    submitter = Submitter("alice", "primary", "alice")
    for _ in range(2):
        with pytest.raises(ValidationBroken):
            await validation.judge([GOOD], submitter)
    assert [method for method, _ in manager.asked] == ["queue_item_add_batch", "queue_item_remove_batch"]
    assert manager.asked[1][1]["uids"] == ["0", "1"]
