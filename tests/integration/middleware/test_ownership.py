"""One's own items: who holds `write:queue:edit:own` changes nothing of others."""

import asyncio
import json

import pytest
from policy_people import as_

PLAN = {"name": "count", "args": [["det1"]], "item_type": "plan"}
POLICY = """
roles:
  visitor: {inherits: observer, scopes_add: ["write:queue:edit:own"]}
  directing: {inherits: visitor, scopes_add: ["write:queue:control"]}
  tight: {inherits: visitor, quota: {queue_items: 3, batch_items: 2}}
users:
  ann: {roles: visitor, displayed_name: Ann}
  director: {roles: directing}
  bob: {roles: visitor}
  tim: {roles: tight}
  staff: {roles: expert}
"""


@pytest.fixture
async def server(serve_people):
    return await serve_people(POLICY)


async def add(server, name: str) -> str:
    reply = (await server.post("/api/queue/item/add", json={"item": PLAN}, headers=as_(name))).json()
    assert reply["success"], reply
    return reply["item"]["item_uid"]


async def queue(server) -> list[str]:
    reply = (await server.get("/api/queue/get", headers=as_("staff"))).json()
    return [item["item_uid"] for item in reply["items"]]


def edits(uid: str) -> list[tuple[str, dict]]:
    """Every way to touch an item."""
    return [
        ("/api/queue/item/update", {"item": {**PLAN, "item_uid": uid}}),
        ("/api/queue/item/update", {"item": {**PLAN, "item_uid": uid}, "replace": True}),
        ("/api/queue/item/move", {"uid": uid, "pos_dest": "back"}),
        ("/api/queue/item/move/batch", {"uids": [uid], "pos_dest": "front"}),
        ("/api/queue/item/remove", {"uid": uid}),
        ("/api/queue/item/remove/batch", {"uids": [uid]}),
        ("/api/queue/item/remove/batch", {"uids": [uid], "ignore_missing": False}),
    ]


async def test_another_persons_item_cannot_be_touched_in_any_way(server):
    uid = await add(server, "ann")
    for path, params in edits(uid):
        refused = await server.post(path, json=params, headers=as_("bob"))
        assert refused.status_code == 403, path
        assert refused.json()["code"] == "not_owner"
        assert refused.json()["foreign_uids"] == [uid]
        assert refused.json()["detail"].startswith("Not enough permissions")
    assert await queue(server) == [uid]


async def test_ones_own_item_is_changed_in_every_way(server):
    other = await add(server, "bob")
    for which in range(len(edits(""))):
        path, params = edits(await add(server, "ann"))[which]
        reply = (await server.post(path, json=params, headers=as_("ann"))).json()
        assert reply["success"], (path, reply)
    assert other in await queue(server)


STOP = {"name": "queue_stop", "item_type": "instruction"}


async def test_instructions_need_the_control_of_the_queue(server):
    uid = await add(server, "ann")
    for path, body in [
        ("/api/queue/item/add", {"item": STOP, "pos": "front"}),
        ("/api/queue/item/add", {"item": STOP}),
        ("/api/queue/item/add/batch", {"items": [PLAN, STOP]}),
        ("/api/queue/item/update", {"item": {**STOP, "item_uid": uid}}),
    ]:
        refused = await server.post(path, json=body, headers=as_("ann"))
        assert (refused.status_code, refused.json()["missing_scope"]) == (403, "write:queue:control"), path
    lines = b"".join(json.dumps(one).encode() + b"\n" for one in (PLAN, STOP))
    bulk = await server.post("/api/queue/item/add/stream", content=lines, headers=as_("ann"))
    assert [json.loads(line).get("success") for line in bulk.content.splitlines()[1:-1]] == [True, False]
    assert len(await queue(server)) == 2
    for name in ("director", "staff"):
        added = await server.post("/api/queue/item/add", json={"item": STOP}, headers=as_(name))
        assert added.json()["success"], name


async def test_a_queue_that_cannot_be_read_is_taken_for_everybodys(server, monkeypatch):
    uid = await add(server, "ann")
    manager = server.app.ctx.services.manager
    request = manager.request

    async def failing(method, *args, **options):
        if method == "queue_get":
            return b'{"success": false, "msg": "Error: Connection closed by server.", "items": [], "running_item": {}}'
        return await request(method, *args, **options)

    monkeypatch.setattr(manager, "request", failing)
    for path, params in edits(uid):
        refused = await server.post(path, json=params, headers=as_("bob"))
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded"), path
    refused = await server.post("/api/queue/item/add", json={"item": PLAN}, headers=as_("tim"))
    assert refused.status_code == 503
    monkeypatch.undo()
    assert await queue(server) == [uid]


async def test_positions_are_resolved_before_the_check(server):
    first, last = await add(server, "ann"), await add(server, "bob")
    for pos in ("front", 0, -2):
        refused = await server.post("/api/queue/item/remove", json={"pos": pos}, headers=as_("bob"))
        assert refused.json()["foreign_uids"] == [first], pos
    refused = await server.post("/api/queue/item/move", json={"pos": 0, "pos_dest": "back"}, headers=as_("bob"))
    assert refused.json()["foreign_uids"] == [first]
    assert (await server.post("/api/queue/item/remove", headers=as_("ann"))).json()["foreign_uids"] == [last]
    assert (await server.post("/api/queue/item/remove", headers=as_("bob"))).json()["item"]["item_uid"] == last
    nothing = await server.post("/api/queue/item/remove", json={"pos": 7}, headers=as_("ann"))
    assert nothing.status_code == 200
    assert not nothing.json()["success"]
    assert await queue(server) == [first]


async def test_a_mixed_batch_is_refused_whole_and_names_the_foreign_uids(server):
    mine, other = await add(server, "ann"), await add(server, "bob")
    refused = await server.post("/api/queue/item/remove/batch", json={"uids": [mine, other]}, headers=as_("ann"))
    assert refused.status_code == 403
    assert refused.json()["foreign_uids"] == [other]
    assert await queue(server) == [mine, other]


async def test_clearing_the_queue_needs_the_full_scope(server):
    await add(server, "ann")
    refused = await server.post("/api/queue/clear", headers=as_("ann"))
    assert refused.status_code == 403
    assert refused.json()["missing_scope"] == "write:queue:edit"


async def test_staff_may_change_the_items_of_all(server):
    uid = await add(server, "ann")
    reply = await server.post("/api/queue/item/remove", json={"uid": uid}, headers=as_("staff"))
    assert reply.json()["success"]


async def test_an_item_that_changes_hands_between_check_and_edit_is_not_touched(server):
    """Staff take ann's items over while she removes them: every item is either removed as hers or stays as theirs."""
    for _ in range(15):
        uid = await add(server, "ann")
        update = server.post("/api/queue/item/update", json={"item": {**PLAN, "item_uid": uid}}, headers=as_("staff"))
        remove = server.post("/api/queue/item/remove", json={"uid": uid}, headers=as_("ann"))
        updated, removed = await asyncio.gather(update, remove)
        if removed.status_code == 200 and removed.json()["success"]:
            assert removed.json()["item"]["user"] == 'ann "Ann"'
        else:
            assert updated.json()["success"]


async def test_who_submits_is_stamped_whatever_the_client_says(server):
    reply = await server.post(
        "/api/queue/item/add", json={"item": PLAN, "user": "bob", "user_group": "root"}, headers=as_("ann")
    )
    assert reply.json()["item"]["user"] == 'ann "Ann"'
    assert reply.json()["item"]["user_group"] == "primary"


# Quotas


async def test_nobody_has_more_items_in_the_queue_than_the_quota(server):
    one = {"item": PLAN}
    replies = await asyncio.gather(
        *(server.post("/api/queue/item/add", json=one, headers=as_("tim")) for _ in range(10))
    )
    assert sorted(reply.status_code for reply in replies) == [200] * 3 + [429] * 7
    refused = next(reply for reply in replies if reply.status_code == 429).json()
    assert refused["rule"] == "quota.queue_items"
    assert "allows 3 items in the queue; 3 are there" in refused["detail"]
    await add(server, "ann")
    assert (await server.post("/api/queue/item/remove", json={"pos": 0}, headers=as_("tim"))).json()["success"]
    await add(server, "tim")


async def test_a_batch_that_is_too_large_or_does_not_fit_is_refused_whole(server):
    async def batch(count):
        return await server.post("/api/queue/item/add/batch", json={"items": [PLAN] * count}, headers=as_("tim"))

    assert (await batch(3)).json()["rule"] == "quota.batch_items"
    assert (await batch(2)).json()["success"]
    assert (await batch(2)).json()["rule"] == "quota.queue_items"
    assert len(await queue(server)) == 2


async def test_a_spreadsheet_is_a_batch(server):
    sheet = "name,args\n" + "count,[['det1']]\n" * 3
    refused = await server.post(
        "/api/queue/upload/spreadsheet", files={"spreadsheet": ("plans.csv", sheet.encode())}, headers=as_("tim")
    )
    assert refused.status_code == 429, json.dumps(refused.json())


def test_every_row_that_own_scopes_open_checks_whose_items_they_are():
    from sanic_qserver.api.table import ENDPOINTS
    from sanic_qserver.middleware.ownership import _EDITS
    from sanic_qserver.scopes import Scope

    adds = {"queue_item_add", "queue_item_add_batch"}
    opened = [row for row in ENDPOINTS if row.changes and Scope.WRITE_QUEUE_EDIT_OWN in row.any_scope]
    assert {row.method for row in opened if row.method} == set(_EDITS) | adds
    # It calls nothing of RE Manager's, and looks at whose proposal it is by itself.
    assert [row.path for row in opened if not row.method] == ["/proposals/<id>/withdraw"]
    assert not [
        row
        for row in ENDPOINTS
        if row.method and row.changes and row.any_scope not in ((), (Scope.WRITE_QUEUE_EDIT_OWN,))
    ]
