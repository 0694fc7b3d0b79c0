"""Schemas over HTTP: those of the caller's own plans, cached with them."""

import inspect
import json
import random

import jsonschema
from bluesky_queueserver.manager import profile_ops
from plan_arguments import choose_arguments, find_good_values


async def test_every_allowed_plan_has_a_schema(client):
    reply = await client.get("/api/plans/allowed/schema")
    allowed = (await client.get("/api/plans/allowed")).json()
    body = reply.json()
    assert body["success"] is True
    assert set(body["plans"]) == set(allowed["plans_allowed"])
    assert body["plans_allowed_uid"] == allowed["plans_allowed_uid"]
    for schema in body["plans"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


async def test_names_narrow_the_reply_and_an_unknown_one_is_named(client):
    reply = await client.get("/api/plans/allowed/schema?name=count&name=scan")
    assert set(reply.json()["plans"]) == {"count", "scan"}
    unknown = await client.get("/api/plans/allowed/schema?name=count&name=dance")
    assert unknown.status_code == 404
    assert "'dance'" in unknown.json()["detail"]


async def test_an_unchanged_list_is_a_304(client):
    for path in ("/api/plans/allowed/schema", "/api/plans/allowed/schema?name=count"):
        etag = (await client.get(path)).headers["etag"]
        assert (await client.get(path, headers={"If-None-Match": etag})).status_code == 304
    other = (await client.get("/api/plans/allowed/schema?name=scan")).headers["etag"]
    assert other != etag


async def test_no_item_that_re_manager_accepts_is_refused_by_its_schema(client):
    schemas = (await client.get("/api/plans/allowed/schema")).json()["plans"]
    plans = (await client.get("/api/plans/allowed")).json()["plans_allowed"]
    source = random.Random(15)
    items = []
    for name, plan in plans.items():
        good = {parameter["name"]: find_good_values(parameter) for parameter in plan["parameters"]}
        for _ in range(8):
            args, kwargs = choose_arguments(plan, good, source)
            items.append({"item_type": "plan", "name": name, "args": args, "kwargs": kwargs})
    found = (await client.post("/api/queue/item/validate/batch", json={"items": items})).json()["results"]
    accepted = set()
    for item, verdict in zip(items, found, strict=True):
        if verdict["valid"]:
            accepted.add(item["name"])
            parameters = profile_ops.construct_parameters(plans[item["name"]]["parameters"])
            bound = inspect.Signature(parameters).bind(*item["args"], **item["kwargs"]).arguments
            jsonschema.Draft202012Validator(schemas[item["name"]]).validate(json.loads(json.dumps(bound)))
    assert len(accepted) > 0.8 * len(plans), "too few plans were accepted: the test proves little"
