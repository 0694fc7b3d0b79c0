"""Roles whose submissions are reviewed."""

import json

import pytest
from policy_people import as_

from .conftest import PLAN, decide, propose, queue

WAYS = {
    "/queue/item/add": {"json": {"item": PLAN}},
    "/queue/item/add/batch": {"json": {"items": [PLAN]}},
    "/queue/upload/spreadsheet": {"files": {"spreadsheet": ("a.csv", b"name,args\ncount,\"['det1']\"\n")}},
}


@pytest.mark.parametrize("path", [*WAYS, "/queue/item/update"])
async def test_adds_of_a_role_under_review_are_refused_and_told_how_to_propose(server, path):
    body = WAYS.get(path, {"json": {"item": {**PLAN, "item_uid": "x"}}})
    reply = await server.post(f"/api{path}", headers=as_("reva"), **body)
    assert (reply.status_code, reply.json()["code"]) == (403, "review_required")
    assert "/api/proposals" in reply.json()["detail"]
    assert await queue(server) == []


@pytest.mark.parametrize("path", WAYS)
async def test_adds_of_a_role_with_automatic_review_become_proposals(server, path):
    reply = await server.post(f"/api{path}", headers=as_("auto"), **WAYS[path])
    assert reply.status_code == 202, reply.text
    proposal = reply.json()["proposal"]
    assert proposal["state"] == "open"
    assert await queue(server) == []
    assert (await decide(server, proposal, "approve")).json()["success"]
    assert len(await queue(server)) == 1


async def test_who_edits_own_items_sees_and_withdraws_what_a_review_made_of_their_adds_and_no_more(server):
    reply = await server.post("/api/queue/item/add", json={"item": PLAN}, headers=as_("olive"))
    mine, other = reply.json()["proposal"], await propose(server)
    seen = (await server.get("/api/proposals", headers=as_("olive"))).json()["proposals"]
    assert [one["id"] for one in seen] == [mine["id"]]
    assert (await server.get(f"/api/proposals/{other['id']}", headers=as_("olive"))).status_code == 404
    assert (await server.post(f"/api/proposals/{other['id']}/withdraw", headers=as_("olive"))).status_code == 404
    for what in ("approve", "deny"):
        assert (await decide(server, mine, what, who="olive", reason="mine")).status_code == 403
    withdrawn = await server.post(f"/api/proposals/{mine['id']}/withdraw", headers=as_("olive"))
    assert withdrawn.json()["proposal"]["state"] == "withdrawn"


async def test_lines_of_a_role_under_review_are_refused_or_proposed_one_by_one(server):
    body = json.dumps(PLAN).encode() + b"\n"
    for who, code in (("reva", "review_required"), ("auto", "proposed")):
        reply = await server.post("/api/queue/item/add/stream", content=body, headers=as_(who))
        results = [json.loads(line) for line in reply.text.splitlines() if line.strip()]
        assert results[1]["code"] == code, results
    proposals = (await server.get("/api/proposals", headers=as_("dora"))).json()["proposals"]
    assert [one["proposer"] for one in proposals] == ["auto"]
    assert await queue(server) == []


@pytest.mark.parametrize("who", ["staff", "both"])
async def test_who_holds_a_role_without_review_is_not_affected(server, who):
    reply = await server.post("/api/queue/item/add", json={"item": PLAN}, headers=as_(who))
    assert reply.json()["success"] is True
    assert len(await queue(server)) == 1


async def test_who_may_execute_still_executes_and_a_dry_run_still_answers(server):
    files = {"spreadsheet": ("a.csv", b"name,args\ncount,\"['det1']\"\n")}
    reply = await server.post(
        "/api/queue/upload/spreadsheet", files=files, data={"dry_run": "true"}, headers=as_("reva")
    )
    assert reply.json()["dry_run"] is True
