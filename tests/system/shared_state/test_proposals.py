"""Proposals of replicas on PostgreSQL: an approval is carried out once, also when a replica dies."""

import asyncio
from collections import Counter

import pytest
from policy_people import as_, let_people_in

from sanic_qserver.api.proposals.store import Content, ProposalStore, Proposer
from sanic_qserver.auth.storage.database import Database
from sanic_qserver.config.logins import DatabaseConfig
from sanic_qserver.structs.proposals import ItemVerdict

PLAN = {"name": "count", "args": [["det1"]], "item_type": "plan"}
POLICY = """
roles:
  proposer: {inherits: observer, scopes_add: ["write:proposals"]}
  decider: {inherits: observer, scopes_add: ["write:proposals:decide"]}
users:
  ann: {roles: proposer}
  dora: {roles: decider}
  staff: {roles: expert}
"""


@pytest.mark.slow
async def test_an_approval_at_two_replicas_at_once_is_carried_out_once(serve_replicas, url, tmp_path):
    (tmp_path / "permissions.yaml").write_text(POLICY)
    policy = {"permissions": str(tmp_path / "permissions.yaml")}
    servers = await serve_replicas(policy=policy, database={"url": url}, auth={"secret_keys": ["a-secret-of-both"]})
    for server in servers:
        let_people_in(server.app)
    await servers[0].post("/api/queue/clear", headers=as_("staff"))
    keys = []
    for _ in range(6):
        reply = await servers[0].post("/api/proposals", json={"items": [PLAN]}, headers=as_("ann"))
        keys.append(reply.json()["proposal"]["id"])

    async def approve(server, key):
        headers = {**as_("dora"), "If-Match": '"1"'}
        return (await server.post(f"/api/proposals/{key}/approve", json={}, headers=headers)).status_code

    statuses = await asyncio.gather(*(approve(server, key) for key in keys for server in servers))
    assert Counter(statuses) == {200: 6, 409: 6}
    items = (await servers[1].get("/api/queue/get", headers=as_("staff"))).json()["items"]
    assert sorted(item["meta"][0]["qserver"]["proposal"] for item in items) == sorted(keys)


@pytest.mark.slow
async def test_one_replica_only_takes_over_what_a_dead_one_has_begun(url):
    now = [1000.0]
    databases = [Database(DatabaseConfig(), url) for _ in range(3)]
    await databases[0].upgrade()
    dead, *living = (ProposalStore(database, clock=lambda: now[0]) for database in databases)
    content = Content("", "", [PLAN], [ItemVerdict(valid=True, msg="")])
    proposal = await dead.create(Proposer("toy", "ann", "ann", "primary"), content, 1.0)
    approval = await dead.begin_approval(proposal, "dora", None, 10.0)
    assert [await store.claim_abandoned(10.0) for store in living] == [[], []]
    now[0] += 11
    found = await asyncio.gather(*(store.claim_abandoned(10.0) for store in living))
    assert sorted(map(len, found)) == [0, 1]
    heir, other = living if found[0] else living[::-1]
    now[0] += 5
    # The one that was only stopped finds that it is not its own any more, however long the new claim holds.
    held = [await store.extend_claim(approval, 10.0) for store in (dead, other, heir)]
    assert held == [False, False, True]
    for database in databases:
        await database.close()
