"""A user group sees schemas, verdicts and proposals of nobody else's group."""

import pytest
from policy_people import as_

from .conftest import PLAN, decide

# RE Manager's simulated profile lets the group `test_user` run a few plans only.
POLICY = """
roles:
  proposer: {inherits: observer, scopes_add: ["write:proposals"]}
  visitor: {inherits: proposer, user_group: test_user}
users:
  ann: {roles: proposer}
  vic: {roles: visitor}
  staff: {roles: expert}
"""


@pytest.fixture
async def server(serve_people, tmp_path):
    return await serve_people(POLICY, database={"url": f"sqlite:///{tmp_path / 'proposals.sqlite'}"})


async def schemas(server, who):
    return set((await server.get("/api/plans/allowed/schema", headers=as_(who))).json()["plans"])


async def test_schemas_and_verdicts_are_those_of_the_callers_group(server):
    every, few = await schemas(server, "ann"), await schemas(server, "vic")
    assert few < every
    forbidden = min(every - few)
    item = {"item_type": "plan", "name": forbidden}
    reply = await server.post("/api/queue/item/validate", json={"item": item}, headers=as_("vic"))
    assert "is not in the list of allowed plans" in reply.json()["msg"]
    unknown = await server.get(f"/api/plans/allowed/schema?name={forbidden}", headers=as_("vic"))
    assert unknown.status_code == 404


async def test_proposals_of_another_group_are_not_seen_and_belong_to_the_proposers_group(server):
    own = await server.post("/api/proposals", json={"item": PLAN}, headers=as_("vic"))
    other = await server.post("/api/proposals", json={"item": PLAN}, headers=as_("ann"))
    seen = (await server.get("/api/proposals", headers=as_("vic"))).json()["proposals"]
    assert [one["id"] for one in seen] == [own.json()["proposal"]["id"]]
    hidden = f"/api/proposals/{other.json()['proposal']['id']}"
    assert (await server.get(hidden, headers=as_("vic"))).status_code == 404
    assert (await decide(server, own.json()["proposal"], "approve", "staff")).json()["success"]
    (item,) = (await server.get("/api/queue/get", headers=as_("staff"))).json()["items"]
    assert (item["user_group"], item["user"]) == ("test_user", "vic")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"item": {"item_type": "plan", "name": "count", "args": [NaN]}}', 422),
        (b'{"item": {"item_type": "plan"', 422),
        (b'{"items": "count"}', 400),
        (b'{"item": {"item_type": "plan", "name": "count", "meta": {"text": "' + b"x" * 10_000_000 + b'"}}}', 201),
        (b'{"item": {"text": "' + b"x" * 40_000_000 + b'"}}', 413),
    ],
    ids=["NaN", "cut off", "no list", "10 MB", "40 MB"],
)
async def test_bad_and_large_bodies_get_a_clear_answer(server, body, status):
    headers = {**as_("ann"), "Content-Type": "application/json"}
    reply = await server.post("/api/proposals", content=body, headers=headers, timeout=60)
    assert reply.status_code == status, reply.text[:200]
    if status != 201:
        assert reply.json()["detail"]
