"""The items of proposals, followed from the proposal into the queue."""

from policy_people import as_

from .conftest import PLAN, decide, propose


async def test_an_item_is_found_by_its_id_from_the_proposal_on(server):
    proposal = await propose(server, PLAN, PLAN)
    path = f"/api/item/{proposal['item_ids'][1]}"
    found = (await server.get(path, headers=as_("ann"))).json()
    assert (found["state"], found["item"]) == ("proposed", PLAN)
    assert (await server.get(path, headers=as_("bob"))).status_code == 404
    approved = (await decide(server, proposal, "approve")).json()["proposal"]
    found = (await server.get(path, headers=as_("ann"))).json()
    assert (found["state"], found["position"], found["item_uid"]) == ("queued", 1, approved["item_uids"][1])


async def test_an_item_that_was_denied_is_nowhere_and_says_why(server):
    proposal = await propose(server, PLAN)
    await decide(server, proposal, "deny", reason="no")
    reply = await server.get(f"/api/item/{proposal['item_ids'][0]}", headers=as_("ann"))
    assert (reply.status_code, reply.json()["state"]) == (404, "denied")


async def test_proposed_items_are_in_the_list_of_ones_items(server):
    proposal = await propose(server, PLAN)
    mine = (await server.get("/api/items?state=proposed,queued", headers=as_("ann"))).json()["items"]
    assert [(one["item_uid"], one["state"]) for one in mine] == [(proposal["item_ids"][0], "proposed")]
    assert (await server.get("/api/items?state=proposed", headers=as_("bob"))).json()["items"] == []
    every = (await server.get("/api/items?state=proposed&user=*", headers=as_("dora"))).json()["items"]
    assert len(every) == 1
