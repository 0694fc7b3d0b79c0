"""Roles whose submissions are reviewed."""

import json

import pytest
from policy_people import as_

from sanic_qserver.api.proposals import rows
from sanic_qserver.api.proposals.store import ProposalStore
from sanic_qserver.auth.storage.database import DatabaseAway
from sanic_qserver.manager.client.call import SENDING
from sanic_qserver.middleware.idempotency.keys import Kept, State
from sanic_qserver.middleware.idempotency.memory import MemoryKeys

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


KEYED = {
    **{path: ("auto", body) for path, body in WAYS.items()},
    "/proposals": ("ann", {"json": {"items": [PLAN], "title": "A"}}),
}


async def ask_twice(server, path):
    """The replies to the same call with the same key, and the proposals there are then."""
    who, body = KEYED[path]
    headers = {**as_(who), "Idempotency-Key": "k"}
    replies = [await server.post(f"/api{path}", headers=headers, **body) for _ in range(2)]
    return *replies, (await server.get("/api/proposals", headers=as_("dora"))).json()["proposals"]


@pytest.mark.parametrize("path", KEYED)
async def test_who_asks_again_after_a_server_died_before_it_answered_gets_what_was_made(server, path, monkeypatch):
    keep = MemoryKeys.keep

    async def keep_nothing(self, key, claim, kept):
        await keep(self, key, claim, Kept(state=State.UNKNOWN, fingerprint=kept.fingerprint))

    monkeypatch.setattr(MemoryKeys, "keep", keep_nothing)
    first, again, found = await ask_twice(server, path)
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (first.status_code, "true"), again.text
    assert [one["id"] for one in found] == [first.json()["proposal"]["id"]] == [again.json()["proposal"]["id"]]


@pytest.mark.parametrize("path", KEYED)
async def test_who_asks_again_after_the_database_went_away_while_it_wrote_makes_no_second_one(
    server, path, monkeypatch
):
    insert = ProposalStore._insert

    async def insert_unheard(*args):
        await insert(*args)
        monkeypatch.setattr(ProposalStore, "_insert", insert)
        raise DatabaseAway

    monkeypatch.setattr(ProposalStore, "_insert", insert_unheard)
    first, again, found = await ask_twice(server, path)
    assert first.status_code == 503
    assert [one["id"] for one in found] == [again.json()["proposal"]["id"]]


async def test_a_cut_off_call_that_proposed_nothing_says_so(server, monkeypatch):
    async def claim_unknown(self, key, claim, fingerprint):
        return Kept(state=State.UNKNOWN, fingerprint=fingerprint)

    monkeypatch.setattr(MemoryKeys, "claim", claim_unknown)
    _, reply, found = await ask_twice(server, "/proposals")
    assert (reply.status_code, reply.json()["state"], reply.json()["outcome"]) == (409, "unknown", "not_found")
    assert found == []


async def test_a_server_whose_claim_of_a_key_ended_while_it_was_stopped_proposes_nothing(server, monkeypatch):
    validate = rows._validate

    async def validate_and_stop(*args):
        found = await validate(*args)
        monkeypatch.setattr(rows, "_validate", validate)
        SENDING.get().may_send = lambda: False
        return found

    monkeypatch.setattr(rows, "_validate", validate_and_stop)
    first, again, found = await ask_twice(server, "/proposals")
    assert (first.status_code, again.json()["outcome"]) == (503, "not_found")
    assert found == []
