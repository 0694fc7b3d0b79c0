"""The stream of events against a live RE Manager: topics, scopes, changes, and coming back."""

import asyncio
import json

import httpx
import pytest
from conftest import KEY, app_of, until_connected
from watching import Events, Watcher, all_leave, client_of

HEADERS = {"Authorization": f"ApiKey {KEY}"}
PLAN = {"name": "count", "args": [["det1"]], "item_type": "plan"}


@pytest.fixture
async def client(served):
    """The session's server: one for all these tests, with an empty queue and history."""
    async with client_of(served) as client:
        yield client


@pytest.fixture(autouse=True)
async def nobody_stays(client):
    yield
    await all_leave()


async def watch(client, query="", headers=None):
    """A watcher over a websocket, greeted; its `events` are what is still to be read."""
    return await Watcher.connect(client.port, f"/api/events?{query}", HEADERS if headers is None else headers)


async def next_event(watcher, kind="", topic="", timeout_s=15):
    """The next event of this type and topic; heartbeats do not count."""
    while True:
        event = json.loads(await watcher.recv(timeout_s))
        assert set(event) == {"id", "time", "topic", "type", "data"}
        if event["type"] == "heartbeat" or (kind and event["type"] != kind) or (topic and event["topic"] != topic):
            continue
        return event


async def add(client, plan=PLAN, **more):
    reply = (await client.post("/api/queue/item/add", json={"item": plan, **more})).json()
    assert reply["success"], reply
    return reply["item"]["item_uid"]


async def test_a_watcher_begins_with_the_state_of_each_topic(client):
    uid = await add(client)
    watcher = await watch(client, "topics=status,queue,history,runs,lock,plans,devices")
    hello = await next_event(watcher)
    assert (hello["topic"], hello["type"]) == ("stream", "hello")
    assert hello["data"]["topics"] == ["devices", "history", "lock", "plans", "queue", "runs", "status"]
    state = {}
    while len(state) < 7:
        event = await next_event(watcher, "snapshot")
        state[event["topic"]] = event["data"]
        assert event["id"] == hello["id"]
    assert [item["item_uid"] for item in state["queue"]["items"]] == [uid]
    assert state["queue"]["running_item"] == {}
    assert state["status"]["items_in_queue"] == 1
    assert state["history"]["items_in_history"] == 0
    assert state["runs"]["run_list"] == []
    assert state["lock"]["lock_info"]["queue"] is False
    assert state["plans"]["plans_allowed_uid"] == state["status"]["plans_allowed_uid"]
    assert state["devices"]["devices_existing_uid"] == state["status"]["devices_existing_uid"]


async def test_every_change_of_the_queue_is_told(client):
    watcher = await watch(client, "topics=queue&snapshot=false")
    await next_event(watcher, "hello")
    first = await add(client)
    event = await next_event(watcher)
    assert (event["topic"], event["type"]) == ("queue", "item_added")
    assert event["data"]["item"]["item_uid"] == event["data"]["item_uid"] == first
    assert (event["data"]["pos"], event["data"]["after_uid"]) == (0, None)
    second = await add(client)
    assert (await next_event(watcher))["data"]["after_uid"] == first
    await client.post("/api/queue/item/move", json={"uid": second, "pos_dest": "front"})
    event = await next_event(watcher)
    assert event["type"] == "item_moved"
    item = {**PLAN, "item_uid": first, "kwargs": {"num": 3}}
    await client.post("/api/queue/item/update", json={"item": item})
    event = await next_event(watcher)
    assert event["type"] == "item_updated"
    assert event["data"]["item"]["kwargs"] == {"num": 3}
    await client.post("/api/queue/item/remove", json={"uid": second})
    event = await next_event(watcher)
    assert (event["type"], event["data"]["item_uid"]) == ("item_removed", second)
    await client.post("/api/queue/clear")
    event = await next_event(watcher)
    assert (event["type"], event["data"]["item_uid"]) == ("item_removed", first)


@pytest.mark.slow
async def test_a_plan_that_runs_is_told_from_start_to_finish(open_environment):
    client = open_environment
    watcher = await watch(client, "topics=queue,history,runs,console,status&snapshot=false")
    await next_event(watcher, "hello")
    uid = await add(client)
    await next_event(watcher, "item_added")
    await client.post("/api/queue/start")
    seen = []
    while ("history", "item_added") not in seen or ("queue", "item_finished") not in seen:
        event = await next_event(watcher, timeout_s=30)
        seen.append((event["topic"], event["type"]))
        if seen[-1] in (("queue", "item_started"), ("queue", "item_finished"), ("history", "item_added")):
            assert event["data"]["item_uid"] == uid
        if seen[-1] == ("queue", "item_finished"):
            assert event["data"]["exit_status"] == "completed"
        if seen[-1] == ("history", "item_added"):
            assert event["data"]["item"]["result"]["exit_status"] == "completed"
    assert seen.index(("queue", "item_started")) < seen.index(("queue", "item_finished"))
    assert ("console", "output") in seen
    assert ("status", "changed") in seen


async def test_the_lock_is_told(client):
    watcher = await watch(client, "topics=lock")
    await next_event(watcher, "snapshot")
    await client.post("/api/lock", json={"lock_key": "abc", "queue": True, "note": "repair"})
    event = await next_event(watcher)
    assert event["data"]["lock_info"]["note"] == "repair"
    await client.post("/api/unlock", json={"lock_key": "abc"})
    assert (await next_event(watcher))["data"]["lock_info"]["queue"] is False


async def test_changed_lists_of_plans_are_told_by_uid(client):
    watcher = await watch(client, "topics=plans,devices")
    before = [await next_event(watcher, "snapshot") for _ in range(2)]
    await client.post("/api/permissions/reload")
    after = await next_event(watcher, "changed")
    assert after["data"].keys() == next(e["data"].keys() for e in before if e["topic"] == after["topic"])


async def test_a_watcher_that_comes_back_gets_what_it_missed(client):
    watcher = await watch(client, "topics=queue")
    await next_event(watcher, "snapshot")
    first = await add(client)
    seen = await next_event(watcher, "item_added")
    await watcher.leave()
    missed = [await add(client) for _ in range(3)]
    again = await watch(client, f"topics=queue&since={seen['id']}")
    hello = await next_event(again)
    assert hello["data"]["continued"] is True
    told = [await next_event(again) for _ in range(3)]
    assert [event["data"]["item_uid"] for event in told] == missed
    assert first not in missed


async def test_the_browsers_header_continues_as_well(client):
    events = await Events.connect(client.port, "/api/events?topics=queue&snapshot=false", HEADERS)
    assert "text/event-stream" in events.head
    await add(client)
    while (seen := json.loads((await events.next())["data"]))["topic"] != "queue":
        pass  # The greeting, a heartbeat.
    assert events.last_id == seen["id"]
    await events.leave()
    uid = await add(client)
    path = "/api/events?topics=queue&snapshot=false"
    events = await Events.connect(client.port, path, {**HEADERS, "Last-Event-ID": seen["id"]})
    assert json.loads((await events.next())["data"])["data"]["continued"] is True
    assert json.loads((await events.next())["data"])["data"]["item_uid"] == uid


async def test_a_gap_is_told_with_the_state_to_go_on_from(client):
    uid = await add(client)
    watcher = await watch(client, "topics=queue,status&since=0123abcd-17")
    assert (await next_event(watcher))["data"]["continued"] is False
    gap = await next_event(watcher)
    assert (gap["topic"], gap["type"]) == ("stream", "gap")
    assert gap["data"]["topics"] == ["queue", "status"]
    snapshots = [await next_event(watcher) for _ in range(2)]
    assert {event["topic"] for event in snapshots} == {"status", "queue"}
    assert next(e for e in snapshots if e["topic"] == "queue")["data"]["items"][0]["item_uid"] == uid


async def test_a_topic_that_was_not_watched_before_cannot_be_continued(sanic_client, make_config, client):
    server = await sanic_client(app_of(make_config()))
    await until_connected(server)
    watcher = await watch(server, "topics=status")
    seen = await next_event(watcher, "snapshot")
    await add(client)
    again = await watch(server, f"topics=status,queue&since={seen['id']}")
    assert (await next_event(again, "hello"))["data"]["continued"] is False
    assert (await next_event(again, "gap"))["data"]["topics"] == ["queue"]
    assert (await next_event(again, "snapshot"))["topic"] == "queue"


async def until_unwatched(server):
    for _ in range(600):
        if server.app.ctx.services.live.state._task is None:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("RE Manager's state is still followed")


async def test_what_happened_after_the_last_watcher_lingered_is_a_gap(sanic_client, make_config, client):
    server = await sanic_client(app_of(make_config(live={"linger_s": 0.1})))
    await until_connected(server)
    watcher = await watch(server, "topics=queue")
    seen = await next_event(watcher, "snapshot")
    await watcher.leave()
    await until_unwatched(server)
    again = await watch(server, f"topics=queue&since={seen['id']}")
    assert (await next_event(again))["data"]["continued"] is False


async def test_nobody_asks_re_manager_while_nobody_watches(sanic_client, make_config, client):
    server = await sanic_client(app_of(make_config(live={"linger_s": 0.1})))
    await until_connected(server)
    watcher = await watch(server, "topics=queue")
    await next_event(watcher, "snapshot")
    await watcher.leave()
    await until_unwatched(server)
    sent = server.app.ctx.services.manager.counts["sent"]
    await asyncio.sleep(1.5)
    assert server.app.ctx.services.manager.counts["sent"] == sent


async def test_a_topic_that_does_not_exist_is_named(client):
    reply = await client.get("/api/events?topics=queue,nonsense")
    assert reply.status_code == 400
    assert "nonsense" in reply.json()["detail"]
    assert await (await watch(client, "topics=nonsense")).closed() == 4400


async def test_the_anonymous_watch_the_status_only_where_they_may(sanic_client, make_config):
    client = await sanic_client(app_of(make_config(auth={"allow_anonymous_access": True})))
    await until_connected(client)
    assert (await client.get("/api/events?topics=queue")).status_code == 401
    watcher = await watch(client, "", {})
    assert (await next_event(watcher))["data"]["topics"] == ["status"]
    watcher = await watch(client, "topics=status,queue", {})
    watcher.send(json.dumps({"type": "auth", "api_key": KEY}))
    assert (await next_event(watcher))["data"]["topics"] == ["queue", "status"]


@pytest.mark.parametrize(("scopes", "query", "topics"), [
    (["read:queue"], "", ["queue"]),
    (["read:monitor"], "topics=runs", ["runs"]),
    (["read:resources", "read:lock"], "", ["devices", "lock", "plans"]),
])  # fmt: skip
async def test_each_topic_asks_for_its_own_scope(sanic_client, make_config, client, tmp_path, scopes, query, topics):
    policy = tmp_path / "permissions.yaml"
    policy.write_text(json.dumps({"roles": {"unauthenticated_single_user": {"scopes": scopes}}}))
    server = await sanic_client(app_of(make_config(policy={"permissions": str(policy)})))
    await until_connected(server)
    watcher = await watch(server, query)
    assert (await next_event(watcher))["data"]["topics"] == topics
    assert await (await watch(server, "topics=console")).closed() == 4403
    async with httpx.AsyncClient(base_url=server.base_url, headers=HEADERS) as plain:
        assert (await plain.get("/api/events?topics=console")).status_code == 403


async def test_a_topic_that_may_not_be_seen_any_more_ends_the_stream(sanic_client, make_config, client, tmp_path):
    policy = tmp_path / "permissions.yaml"
    policy.write_text('roles: {unauthenticated_single_user: {scopes: ["read:queue", "read:lock"]}}')
    server = await sanic_client(app_of(make_config(policy={"permissions": str(policy)})))
    await until_connected(server)
    watcher = await watch(server, "topics=queue,lock")
    await next_event(watcher, "hello")
    policy.write_text('roles: {unauthenticated_single_user: {scopes: ["read:queue"]}}')
    assert await watcher.closed() == 4403
