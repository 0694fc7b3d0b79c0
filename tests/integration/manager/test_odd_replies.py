"""RE Manager may write what JSON does not know: NaN, half of a surrogate pair. Everything must work all the same.

Such an item cannot come through this server; it comes from a program that speaks 0MQ.
"""

import json

import pytest
from past_the_server import ask_manager
from policy_people import as_
from watching import Events

PLAN = {"item_type": "plan", "name": "count", "args": [["det1"]], "kwargs": {"num": 1}}
POLICY = """
roles:
  tight: {inherits: observer, scopes_add: ["write:queue:edit:own"], quota: {queue_items: 3}}
users:
  tim: {roles: tight}
  staff: {roles: expert}
"""


@pytest.fixture
async def server(serve_people, instrument):
    """A server whose RE Manager has such an item in its queue, and its uid."""
    client = await serve_people(POLICY, items={"stamp": True})
    client.headers.update(as_("staff"))
    assert (await client.post("/api/history/clear")).json()["success"]
    item = {**PLAN, "kwargs": {"num": 1, "md": {"temperature": float("nan"), "sample": "\ud800"}}}
    params = {"item": item, "user": "other", "user_group": "primary"}
    reply = json.loads(ask_manager(instrument.control_address, "queue_item_add", **params))
    assert reply["success"], reply
    yield client, reply["item"]["item_uid"]
    assert (await client.post("/api/queue/clear")).json()["success"]


@pytest.mark.parametrize(
    "path",
    [
        "/api/queue/get", "/api/queue/get?limit=1", "/api/queue/get?fields=item_uid,kwargs",
        "/api/queue/item/get?uid={}", "/api/queue/item/{}", "/api/item/{}", "/api/items?user=other",
    ],
)  # fmt: skip
async def test_every_read_of_items_answers_with_it(server, path):
    client, uid = server
    reply = await client.get(path.format(uid))
    assert reply.status_code == 200, reply.text
    assert uid in reply.text


async def test_watchers_get_a_snapshot_with_null_and_a_question_mark_in_their_place(server):
    client, uid = server
    events = await Events.connect(client.port, "/api/events?topics=queue", as_("staff"))
    while (event := json.loads((await events.next())["data"]))["type"] != "snapshot":
        pass
    assert [(item["item_uid"], item["kwargs"]["md"]) for item in event["data"]["items"]] == [
        (uid, {"temperature": None, "sample": "?"})
    ]
    await events.leave()


async def test_own_items_can_be_edited_beside_it_and_quotas_counted(server):
    client, _ = server
    added = [await client.post("/api/queue/item/add", json={"item": PLAN}, headers=as_("tim")) for _ in range(4)]
    assert [reply.status_code for reply in added] == [200, 200, 200, 429]
    uid = added[0].json()["item"]["item_uid"]
    removed = await client.post("/api/queue/item/remove", json={"uid": uid}, headers=as_("tim"))
    assert removed.json()["success"], removed.text
