"""RE Manager judges what is its business: what is missing or means nothing is sent on, and its own answer comes back.

What is refused here: another JSON kind, unknown fields at the top, bodies that cannot be read.
"""

import pytest

PLAN = {"item_type": "plan", "name": "count", "args": [["det1"]]}
Q, M, ITEM, R, T, L = {"qsize": None}, {}, {"item": {}}, {"run_list": []}, {"task_uid": None}, {"lock_info": {}}

JUDGED = [
    ("/queue/item/add", {}, {"qsize": None, "item": None}, "request contains no item info"),
    ("/queue/item/add", {"item": PLAN, "pos": "some"}, Q, "Parameter 'pos' has incorrect value: pos='some'"),
    ("/queue/item/add", {"item": PLAN, "before_uid": "nobody"}, Q, "not in the queue"),
    ("/queue/item/add", {"item": PLAN, "pos": 1, "after_uid": "x"}, Q, ""),
    ("/queue/item/add/batch", {}, {"items": [], "results": []}, "the list of items is not found"),
    ("/queue/item/add/batch", {"items": [PLAN], "pos": "some"}, {}, "validation of 1 out of 1 submitted items failed"),
    ("/queue/item/execute", {}, {"qsize": None, "item": None}, "request contains no item info"),
    ("/queue/item/update", {}, {"item": None}, "request contains no item info"),
    ("/queue/item/remove", {"pos": "some"}, {"item": {}, "qsize": None}, "Parameter 'pos' has incorrect value"),
    ("/queue/item/remove/batch", {}, {"items": [], "qsize": None}, "does not contain the list of UIDs"),
    ("/queue/item/move", {}, {"item": {}, "qsize": None}, ""),
    ("/queue/item/move", {"pos": "some", "pos_dest": "back"}, ITEM, "position some"),
    ("/queue/item/move/batch", {}, {"items": [], "qsize": None}, "does not contain the list of UIDs"),
    ("/queue/item/move/batch", {"uids": ["x"], "pos_dest": "some"}, {"items": []}, "UIDs: ['x']"),
    ("/queue/item/get", {"pos": "some"}, ITEM, "Parameter 'pos' has incorrect type: pos=some"),
    ("/queue/mode/set", {"mode": "some"}, M, "some"),
    ("/queue/mode/set", {"mode": {"unknown": True}}, M, "Unsupported plan queue mode parameter 'unknown'"),
    ("/queue/mode/set", {"mode": {"loop": 5}}, M, "Unsupported type"),
    ("/queue/autostart", {}, M, "'enable' parameter is missing"),
    ("/history/clear", {"size": -1, "item_uid": "x"}, M, ""),
    ("/re/pause", {"option": "some"}, M, "Option 'some' is not supported"),
    ("/re/runs", {"option": "some"}, R, "Option 'some' is not supported"),
    ("/permissions/set", {}, M, "'user_group_permissions' is missing"),
    ("/function/execute", {}, {"item": None, "task_uid": None}, "request contains no item info"),
    ("/script/upload", {}, T, "Required 'script' parameter"),
    ("/task/status", {}, {"task_uid": None, "status": None}, "Required 'task_uid' parameter"),
    ("/task/result", {}, {"task_uid": None}, "Required 'task_uid' parameter"),
    ("/lock", {}, L, "Lock key is not specified"),
    ("/lock", {"lock_key": ""}, L, "Lock key must be a non-empty string"),
    ("/unlock", {}, L, "Request contains no lock key"),
    ("/unlock", {"lock_key": ""}, L, "Lock key must be a non-empty string"),
    ("/manager/stop", {"option": "some"}, M, "Option 'some' is not allowed"),
]
GETS = {"/queue/item/get", "/task/status", "/task/result"}


@pytest.mark.parametrize(("path", "body", "members", "said"), JUDGED, ids=lambda value: str(value)[:50])
def test_re_manager_answers_what_is_missing_or_means_nothing(served, path, body, members, said):
    sent = served.sent
    verb = "GET" if path in GETS else "POST"
    response = served.client.request(verb, f"/api{path}", json=body, headers=served.key)
    assert response.status_code == 200, response.text
    reply = response.json()
    assert reply["success"] is False
    assert said in reply["msg"]
    assert {name: reply[name] for name in members} == members
    assert served.sent == sent + 1


def test_no_mode_at_all_changes_nothing_and_succeeds_as_with_the_reference(served):
    assert served.client.post("/api/queue/mode/set", headers=served.key).json()["success"]


@pytest.mark.parametrize("number", ["3", "-7"])
def test_a_position_in_the_query_is_a_number_where_it_reads_as_one(served, number):
    reply = served.client.get(f"/api/queue/item/get?pos={number}", headers=served.key).json()
    assert f"'{number}'" in reply["msg"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/queue/item/add", {"item": [PLAN]}, 400),
        ("/queue/item/add", {"item": PLAN, "pos": 1.5}, 400),
        ("/queue/item/add", {"item": PLAN, "pos": [1]}, 400),
        ("/queue/item/add/batch", {"items": {}}, 400),
        ("/queue/item/remove/batch", {"uids": "x"}, 400),
        ("/queue/mode/set", {"mode": [1]}, 400),
        ("/queue/mode/set", {"unknown": True}, 400),
        ("/re/pause", {"option": 5}, 400),
        ("/lock", {"lock_key": 5}, 400),
        ("/queue/item/add", [PLAN], 422),
    ],
)
def test_another_json_kind_and_unknown_fields_are_refused_here(served, path, body, status):
    sent = served.sent
    assert served.client.post(f"/api{path}", json=body, headers=served.key).status_code == status
    assert served.sent == sent


async def test_who_acts_on_own_items_only_gets_re_managers_answer_too(sanic_client, make_config):
    from conftest import KEY, app_of, until_connected

    access = {"roles": {"unauthenticated_single_user": {"scopes": ["read:status", "write:queue:edit:own"]}}}
    client = await sanic_client(app_of(make_config(policy={"access": access})))
    client.headers["Authorization"] = f"ApiKey {KEY}"
    await until_connected(client)
    for path, body, _, said in JUDGED:
        if path in ("/queue/item/add", "/queue/item/add/batch", "/queue/item/update") or "/batch" in path:
            reply = (await client.post(f"/api{path}", json=body)).json()
            assert reply["success"] is False
            assert said in reply["msg"]
    for pos in ("some", 99):
        assert (await client.post("/api/queue/item/remove", json={"pos": pos})).json()["success"] is False
