"""A server on which people propose and decide."""

from pathlib import Path

import pytest
from policy_people import as_

PLAN = {"name": "count", "args": [["det1"]], "item_type": "plan"}
OTHER = {"name": "scan", "args": [["det2"], "motor1", -1, 1, 3], "item_type": "plan"}
BAD = {"name": "no_such_plan", "item_type": "plan"}
POLICY = """
roles:
  proposer: {inherits: observer, scopes_add: ["write:proposals"]}
  decider: {inherits: observer, scopes_add: ["write:proposals:decide"]}
  reviewed: {inherits: user, review: required}
  turned: {inherits: user, review: automatic}
  own: {inherits: observer, scopes_add: ["write:queue:edit:own"], review: automatic}
  tight: {inherits: proposer, quota: {queue_items: 3}}
users:
  ann: {roles: proposer, displayed_name: Ann}
  bob: {roles: proposer}
  tim: {roles: tight}
  dora: {roles: decider}
  reva: {roles: reviewed}
  auto: {roles: turned}
  olive: {roles: own}
  both: {roles: [reviewed, user]}
  staff: {roles: expert}
  eve: {roles: observer}
"""


@pytest.fixture
def proposing(serve_people, tmp_path: Path):
    """Start a server; keywords are further sections of the configuration."""

    async def start(**sections):
        database = {"url": f"sqlite:///{tmp_path / 'proposals.sqlite'}"}
        return await serve_people(POLICY, **{"database": database, **sections})

    return start


@pytest.fixture
async def server(proposing):
    """The server with its defaults."""
    return await proposing()


async def propose(server, *items, who="ann", **more):
    """A new proposal."""
    reply = await server.post("/api/proposals", json={"items": list(items) or [PLAN], **more}, headers=as_(who))
    assert reply.status_code == 201, reply.text
    return reply.json()["proposal"]


async def decide(server, proposal, what, who="dora", version=None, **body):
    """The reply to an approval or a denial of the version seen."""
    headers = {**as_(who), "If-Match": f'"{version or proposal["version"]}"'}
    return await server.post(f"/api/proposals/{proposal['id']}/{what}", json=body, headers=headers)


async def queue(server):
    """The items of the queue."""
    return (await server.get("/api/queue/get", headers=as_("staff"))).json()["items"]
