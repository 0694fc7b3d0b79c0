"""Rate limits as clients meet them."""

import asyncio

import msgspec
import pytest
from conftest import KEY, app_of, until_connected


@pytest.fixture
def limited(sanic_client, make_config, tmp_path):
    """Start a server with these rate limits."""

    async def start(text: str, **sections):
        file = tmp_path / "rate_limits.yaml"
        file.write_text(text)
        policy = {"rate_limits": str(file), **sections.pop("policy", {})}
        client = await sanic_client(app_of(make_config(policy=policy, **sections)))
        client.headers["Authorization"] = f"ApiKey {KEY}"
        client.file = file
        await until_connected(client)
        return client

    return start


async def test_sixty_four_clients_at_once_get_no_more_than_the_limit(limited):
    server = await limited("rates: [{name: slow, limits: 100/hour}]")
    replies = await asyncio.gather(*(server.get("/api/status") for _ in range(64 * 4)))
    assert sorted(reply.status_code for reply in replies) == [200] * 100 + [429] * 156


async def test_headers_tell_what_is_left_and_the_refusal_names_the_rule(limited):
    server = await limited("rates: [{name: slow, limits: 2/minute}]")
    first = await server.get("/api/status")
    assert first.headers["RateLimit-Policy"] == '"slow";q=2;w=60'
    assert first.headers["RateLimit"].startswith('"slow";r=1;t=')
    await server.get("/api/status")
    refused = await server.get("/api/status")
    assert refused.status_code == 429
    assert refused.headers["content-type"] == "application/problem+json"
    assert 1 <= int(refused.headers["Retry-After"]) <= 62
    assert refused.headers["RateLimit"].startswith('"slow";r=0;t=')
    problem = refused.json()
    assert problem["rule"] == "slow"
    assert problem["code"] == "too_many_requests"
    assert "'slow' allows 2 in 60 s" in problem["detail"]


async def until(is_so, timeout_s=30):
    """Ask until it is so."""
    end = asyncio.get_running_loop().time() + timeout_s
    while not await is_so():
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.05)


async def answers(server, status):
    return (await server.get("/api/status")).status_code == status


async def warnings(server):
    return list(server.app.ctx.services.warnings)


async def warns_anew(server, before):
    return await warnings(server) not in ([], before)


async def test_a_changed_rule_takes_effect_and_what_was_counted_still_counts(limited):
    server = await limited("rates: [{name: slow, limits: 5/hour}]")
    for _ in range(5):
        assert (await server.get("/api/status")).status_code == 200
    assert (await server.get("/api/status")).status_code == 429
    server.file.write_text("rates: [{name: slow, limits: 7/hour}]")
    await until(lambda: answers(server, 200))
    assert [(await server.get("/api/status")).status_code for _ in range(2)] == [200, 429]


async def test_a_broken_file_does_not_lift_the_limits(limited):
    server = await limited("rates: [{name: slow, limits: 2/hour}]")
    for _ in range(2):
        assert (await server.get("/api/status")).status_code == 200
    before = []
    for text in ("", "rates: [", "rates: [{name: slow, limits: often}]"):
        server.file.write_text(text)
        await until(lambda before=before: warns_anew(server, before))
        assert (await server.get("/api/status")).status_code == 429
        before = await warnings(server)
        assert len(before) == 1


async def test_a_file_that_was_cut_off_does_not_lift_the_limits(limited):
    text = "rates:\n  - {name: fast, limits: 1000/second}\n  - {name: slow, limits: 2/hour}\n"
    server = await limited(text)
    for _ in range(2):
        assert (await server.get("/api/status")).status_code == 200
    server.file.write_text(text[: text.index("  - {name: slow")])
    await until(lambda: warns_anew(server, []))
    assert (await server.get("/api/status")).status_code == 429
    assert "truncated" in (await warnings(server))[0]


async def test_requests_in_flight_are_limited(limited):
    server = await limited("concurrency: [{name: few, of: requests, most: 3}]")
    replies = await asyncio.gather(*(server.get("/api/test/server/sleep?time=0.5") for _ in range(8)))
    assert sorted(reply.status_code for reply in replies) == [200] * 3 + [429] * 5
    assert (await server.get("/api/status")).status_code == 200


async def test_open_streams_are_limited_and_places_come_free(limited):
    server = await limited("concurrency: [{name: few, of: streams, most: 1}]")
    async with server.stream("GET", "/api/stream_console_output") as first:
        assert first.status_code == 200
        refused = await server.get("/api/stream_console_output")
        assert refused.status_code == 429
        assert refused.json()["rule"] == "few"

    async def is_free():
        async with server.stream("GET", "/api/stream_console_output") as second:
            return second.status_code == 200

    await until(is_free)


ITEM = {"name": "count", "args": [["det1"]], "item_type": "plan"}


async def test_every_item_counts_wherever_it_comes_from_and_refused_ones_do_not(limited):
    server = await limited("rates: [{name: few, limits: 10/hour, cost: items, scopes: ['write:*']}]")
    assert (await server.post("/api/queue/item/add", json={"item": ITEM})).json()["success"]
    batch = await server.post("/api/queue/item/add/batch", json={"items": [ITEM] * 3})
    assert batch.headers["RateLimit"].startswith('"few";r=6;')
    never = await server.post("/api/queue/item/add/batch", json={"items": [ITEM] * 11})
    assert (never.status_code, "Retry-After" in never.headers) == (429, False)
    assert "more than that" in never.json()["detail"]
    late = await server.post("/api/queue/item/add/batch", json={"items": [ITEM] * 7})
    assert late.status_code == 429
    assert int(late.headers["Retry-After"]) > 60
    sheet = b"plan_name,args\ncount,['det1']\ncount,['det1']\n"
    assert (await server.post("/api/queue/upload/spreadsheet", files={"spreadsheet": ("a.csv", sheet)})).json()[
        "success"
    ]
    bad = {"name": "nope", "item_type": "plan"}
    lines = b"".join(msgspec.json.encode(one) + b"\n" for one in (ITEM, bad, ITEM))
    told = await server.post("/api/queue/item/add/stream", content=lines)
    assert [msgspec.json.decode(line).get("success") for line in told.content.splitlines()[1:-1]] == [True, False, True]
    last = await server.post("/api/queue/item/add", json={"item": ITEM})
    assert last.headers["RateLimit"].startswith('"few";r=0;')
    assert (await server.post("/api/queue/item/add", json={"item": ITEM})).status_code == 429
