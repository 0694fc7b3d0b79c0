"""What the server puts into the `meta` of items, on every way in."""

import json

import pytest
from policy_people import as_

PLAN = {"name": "count", "args": [["det1"]], "item_type": "plan"}
POLICY = """
roles:
  guest: {inherits: user, metadata: {proposal: "2026-117"}}
users:
  ann: {roles: guest}
  staff: {roles: expert}
"""
SITE = {"proposal": "2026-117"}
FORGED = {**PLAN, "meta": {"proposal": "mine", "sample": "gold"}}


@pytest.fixture
async def server(serve_people, request):
    return await serve_people(POLICY, items={"stamp": getattr(request, "param", False)})


async def queue(server):
    return (await server.get("/api/queue/get", headers=as_("staff"))).json()["items"]


async def post(server, path, who="ann", **body):
    reply = await server.post(f"/api{path}", headers=as_(who), **body)
    assert reply.status_code == 200, reply.text
    return reply


async def _add(server, item):
    await post(server, "/queue/item/add", json={"item": item})


async def _add_batch(server, item):
    await post(server, "/queue/item/add/batch", json={"items": [item]})


async def _add_lines(server, item):
    await post(server, "/queue/item/add/stream", content=json.dumps(item).encode())


async def _update(server, item):
    added = (await post(server, "/queue/item/add", json={"item": PLAN})).json()["item"]
    await post(server, "/queue/item/update", json={"item": {**item, "item_uid": added["item_uid"]}})


async def _upload(server, item):
    sheet = b"name,args,meta\ncount,\"['det1']\","
    await post(server, "/queue/upload/spreadsheet", files={"spreadsheet": ("a.csv", sheet + b"\n")})


@pytest.mark.parametrize("way", [_add, _add_batch, _add_lines, _update, _upload])
async def test_the_metadata_of_the_policy_comes_first_on_every_way_in(server, way):
    await way(server, FORGED)
    (item,) = await queue(server)
    assert item["meta"][0] == SITE
    if way is not _upload:
        assert item["meta"][1:] == [FORGED["meta"]]


async def test_an_item_that_is_sent_again_is_stamped_once(server):
    await _add(server, FORGED)
    (item,) = await queue(server)
    await post(server, "/queue/item/update", json={"item": item})
    assert (await queue(server))[0]["meta"] == item["meta"]


async def test_a_meta_of_a_wrong_kind_is_left_for_re_manager_to_refuse(server):
    reply = await post(server, "/queue/item/add", json={"item": {**PLAN, "meta": "text"}})
    assert "must be a dictionary or a list of dictionaries" in reply.json()["msg"]


@pytest.mark.parametrize("meta", [None, {"a": 1}, [{"a": 1}, {"b": 2}]])
async def test_items_of_others_stay_as_they_were_sent(server, meta):
    sent = PLAN if meta is None else {**PLAN, "meta": meta}
    await post(server, "/queue/item/add", "staff", json={"item": sent})
    (item,) = await queue(server)
    assert item.get("meta") == meta
    assert set(item) - set(sent) == {"item_uid", "user", "user_group"}


async def test_a_verdict_shows_the_item_as_it_would_be_submitted(server):
    reply = await post(server, "/queue/item/validate", json={"item": FORGED})
    assert reply.json()["item"]["meta"] == [SITE, FORGED["meta"]]
    assert await queue(server) == []


@pytest.mark.parametrize("server", [True], indirect=True)
async def test_a_stamp_tells_who_submitted_the_item_and_under_which_key(server):
    forged = {**PLAN, "meta": [{"qserver": {"principal": "somebody-else"}}]}
    headers = {**as_("staff"), "Idempotency-Key": "key-1"}
    reply = await server.post("/api/queue/item/add", json={"item": forged}, headers=headers)
    (stamp,) = reply.json()["item"]["meta"]
    assert (stamp["qserver"]["submission"], stamp["qserver"]["principal"]) == ("key-1", "staff")
    assert stamp["qserver"]["provider"] == "test"
    assert stamp["qserver"]["submitted_at"] > 1e9
