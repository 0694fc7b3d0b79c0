"""People who may not add propose, others decide."""

import asyncio
import json

import pytest
from policy_people import as_

from sanic_qserver.api.proposals import approval
from sanic_qserver.errors import ManagerTimeout

from .conftest import BAD, OTHER, PLAN, decide, propose, queue


async def test_a_proposal_is_validated_at_once_and_adds_nothing(server):
    proposal = await propose(server, PLAN, BAD, title="Night", note="two")
    assert (proposal["state"], proposal["version"], proposal["proposer"]) == ("open", 1, "ann")
    assert [verdict["valid"] for verdict in proposal["verdicts"]] == [True, False]
    assert "not in the list of allowed plans" in proposal["verdicts"][1]["msg"]
    assert await queue(server) == []


async def test_one_item_and_a_spreadsheet_can_be_proposed_too(server):
    one = await server.post("/api/proposals", json={"item": PLAN}, headers=as_("ann"))
    assert one.json()["proposal"]["items"] == [PLAN]
    sheet = {"spreadsheet": ("plans.csv", b"name,args\ncount,\"['det1']\"\ncount,\"['det2']\"\n")}
    reply = await server.post("/api/proposals", files=sheet, data={"title": "sheet"}, headers=as_("ann"))
    assert reply.status_code == 201, reply.text
    assert [item["args"] for item in reply.json()["proposal"]["items"]] == [[["det1"]], [["det2"]]]


async def test_an_approval_queues_the_items_in_the_proposers_name(server):
    proposal = await propose(server, PLAN, OTHER)
    reply = await decide(server, proposal, "approve")
    approved = reply.json()["proposal"]
    assert (reply.status_code, approved["state"], approved["decided_by"]) == (200, "queued", "dora")
    items = await queue(server)
    assert [item["item_uid"] for item in items] == approved["item_uids"]
    assert {item["user"] for item in items} == {'ann "Ann"'}
    mark = items[1]["meta"][0]["qserver"]
    assert (mark["proposal"], mark["item"], mark["approved_by"]) == (proposal["id"], 1, "dora")


async def test_an_approval_may_say_where_the_items_go(server):
    await server.post("/api/queue/item/add", json={"item": OTHER}, headers=as_("staff"))
    await decide(server, await propose(server, PLAN), "approve", pos="front")
    assert [item["name"] for item in await queue(server)] == ["count", "scan"]


async def test_nobody_decides_on_what_they_have_not_seen(server):
    proposal = await propose(server, PLAN)
    body = {"items": [OTHER], "note": "better"}
    changed = await server.patch(f"/api/proposals/{proposal['id']}", json=body, headers=as_("ann"))
    assert changed.json()["proposal"]["version"] == 2
    assert [one["version"] for one in changed.json()["proposal"]["versions"]] == [1, 2]
    stale = await decide(server, proposal, "approve")
    assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")
    unseen = await server.post(f"/api/proposals/{proposal['id']}/approve", json={}, headers=as_("dora"))
    assert unseen.status_code == 428
    broken = await decide(server, proposal, "approve", version="x")
    assert broken.status_code == 412
    assert await queue(server) == []
    assert (await decide(server, proposal, "approve", version=2)).json()["proposal"]["state"] == "queued"
    assert [item["name"] for item in await queue(server)] == ["scan"]


async def test_a_proposal_is_decided_once(server):
    proposal = await propose(server, PLAN)
    replies = await asyncio.gather(*[decide(server, proposal, "approve", who) for who in ("dora", "staff") * 3])
    assert sorted(reply.status_code for reply in replies) == [200, *[409] * 5]
    assert len(await queue(server)) == 1
    late = await decide(server, proposal, "deny", reason="late")
    assert (late.status_code, late.json()["state"]) == (409, "queued")


async def test_a_denial_has_a_reason(server):
    proposal = await propose(server, PLAN)
    assert (await decide(server, proposal, "deny")).status_code == 400
    denied = (await decide(server, proposal, "deny", reason="too long")).json()["proposal"]
    assert (denied["state"], denied["reason"]) == ("denied", "too long")
    assert (await decide(server, proposal, "approve")).status_code == 409


async def test_what_re_manager_refuses_at_the_approval_is_open_again_with_the_reason(server):
    proposal = await propose(server, BAD)
    reply = await decide(server, proposal, "approve")
    assert reply.json()["success"] is False
    assert reply.json()["proposal"]["state"] == "open"
    assert "not in the list of allowed plans" in reply.json()["proposal"]["reason"]
    assert await queue(server) == []


async def test_an_approval_with_an_unknown_outcome_waits_for_a_queue_that_can_be_read(server, monkeypatch):
    manager = server.app.ctx.services.manager
    request = manager.request
    unread, is_read = asyncio.Event(), asyncio.Event()

    async def failing(method, *args, **options):
        reply = await request(method, *args, **options)
        if method == "queue_item_add_batch":
            raise ManagerTimeout("Its answer was lost")
        if method == "queue_get" and not is_read.is_set():
            unread.set()
            return b'{"success": false, "msg": "Error: Redis is away", "items": [], "running_item": {}}'
        return reply

    proposal = await propose(server, PLAN)
    monkeypatch.setattr(approval, "_SETTLE_PAUSE_S", 0.05)
    monkeypatch.setattr(manager, "request", failing)
    assert (await decide(server, proposal, "approve")).status_code == 202
    async with asyncio.timeout(30):
        for _ in range(2):
            unread.clear()
            await unread.wait()
        path = f"/api/proposals/{proposal['id']}"
        now = (await server.get(path, headers=as_("dora"))).json()["proposal"]
        assert now["state"] == "approving", "nothing is known of the queue: it must not be open for a second approval"
        is_read.set()
        while now["state"] == "approving":
            await asyncio.sleep(0.05)
            now = (await server.get(path, headers=as_("dora"))).json()["proposal"]
    assert (now["state"], now["item_uids"]) == ("queued", [item["item_uid"] for item in await queue(server)])


async def test_nobody_approves_their_own_unless_the_site_allows_it(proposing):
    server = await proposing()
    proposal = await propose(server, PLAN, who="staff")
    assert (await decide(server, proposal, "approve", "staff")).status_code == 403
    assert (await decide(server, proposal, "approve", "dora")).json()["success"]
    lenient = await proposing(proposals={"own_approval": True})
    proposal = await propose(lenient, PLAN, who="staff")
    assert (await decide(lenient, proposal, "approve", "staff")).json()["success"]


async def test_the_owner_withdraws_and_nobody_else(server):
    proposal = await propose(server, PLAN)
    path = f"/api/proposals/{proposal['id']}/withdraw"
    assert (await server.post(path, headers=as_("staff"))).status_code == 403
    assert (await server.post(path, headers=as_("bob"))).status_code == 404
    assert (await server.post(path, headers=as_("ann"))).json()["proposal"]["state"] == "withdrawn"
    assert (await server.post(path, headers=as_("ann"))).status_code == 409


async def test_who_does_not_decide_sees_proposals_of_their_own_only(server):
    mine, other = await propose(server, PLAN), await propose(server, OTHER, who="bob")
    listed = (await server.get("/api/proposals", headers=as_("ann"))).json()
    assert [one["id"] for one in listed["proposals"]] == [mine["id"]]
    assert (await server.get(f"/api/proposals/{other['id']}", headers=as_("ann"))).status_code == 404
    every = (await server.get("/api/proposals?state=open", headers=as_("dora"))).json()
    assert {one["id"] for one in every["proposals"]} == {mine["id"], other["id"]}
    assert (await server.get("/api/proposals?mine=true", headers=as_("dora"))).json()["total"] == 0
    page = (await server.get("/api/proposals?offset=1&limit=1", headers=as_("dora"))).json()
    assert ([one["id"] for one in page["proposals"]], page["total"]) == ([mine["id"]], 2)


async def test_comments_are_kept_with_their_authors(server):
    proposal = await propose(server, PLAN)
    path = f"/api/proposals/{proposal['id']}"
    for who in ("dora", "ann"):
        assert (await server.post(f"{path}/comment", json={"text": f"by {who}"}, headers=as_(who))).status_code == 200
    comments = (await server.get(path, headers=as_("ann"))).json()["proposal"]["comments"]
    assert [(one["by"], one["text"]) for one in comments] == [("dora", "by dora"), ('ann "Ann"', "by ann")]


@pytest.mark.parametrize("who", ["eve", "bob"])
async def test_who_may_not_decide_is_told_the_missing_scope(server, who):
    reply = await decide(server, await propose(server, PLAN), "approve", who)
    assert reply.status_code == 403
    assert reply.json()["missing_scope"] == "write:proposals:decide"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "items"),
        ({"items": []}, "items"),
        ({"item": PLAN, "items": [PLAN]}, "items"),
        ({"items": [PLAN] * 501}, "items"),
        ({"item": PLAN, "title": "x" * 201}, "title"),
        ({"item": PLAN, "title": 5}, "title"),
        ({"item": 5}, "item"),
        ({"item": PLAN, "unknown": 1}, "unknown"),
    ],
)
async def test_a_bad_proposal_is_refused_with_the_field(server, body, field):
    reply = await server.post("/api/proposals", json=body, headers=as_("ann"))
    assert reply.status_code == 400
    assert field in reply.json()["detail"]
    assert (await server.get("/api/proposals", headers=as_("ann"))).json()["total"] == 0


async def test_an_unknown_proposal_is_a_404(server):
    assert (await server.get("/api/proposals/none", headers=as_("dora"))).status_code == 404


async def test_open_proposals_count_for_the_quota(server):
    await propose(server, PLAN, PLAN, who="tim")
    refused = await server.post("/api/proposals", json={"items": [PLAN, PLAN]}, headers=as_("tim"))
    assert (refused.status_code, refused.json()["rule"]) == (429, "quota.queue_items")
    await propose(server, PLAN, who="tim")


async def test_a_proposal_expires(proposing):
    server = await proposing(proposals={"keep_open_days": 1e-7})
    proposal = await propose(server, PLAN)
    await asyncio.sleep(0.02)
    assert (await decide(server, proposal, "approve")).status_code == 409
    found = (await server.get(f"/api/proposals/{proposal['id']}", headers=as_("ann"))).json()["proposal"]
    assert found["state"] == "expired"


async def test_watchers_hear_of_what_they_may_read(server):
    heard = {"ann": [], "bob": [], "dora": []}
    ready = asyncio.Event()

    async def watch(who):
        async with server.stream("GET", "/api/events?topics=proposals", headers=as_(who)) as stream:
            async for line in stream.aiter_lines():
                if line.startswith("data:"):
                    event = json.loads(line[5:])
                    heard[who].append((event["topic"], event["type"], event["data"].get("id")))
                    if all(heard.values()):
                        ready.set()

    watchers = [asyncio.ensure_future(watch(who)) for who in heard]
    await asyncio.wait_for(ready.wait(), 10)
    proposal = await propose(server, PLAN)
    await decide(server, proposal, "approve")
    wanted = [("proposals", "created", proposal["id"]), ("proposals", "approved", proposal["id"])]
    async with asyncio.timeout(10):
        while len(heard["ann"]) < 3 or len(heard["dora"]) < 3:
            await asyncio.sleep(0.02)
    for one in watchers:
        one.cancel()
    assert heard["ann"][1:] == heard["dora"][1:] == wanted
    assert len(heard["bob"]) == 1
