"""Schemas over HTTP: those of the caller's own plans, cached with them."""

import jsonschema


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
