"""Bulk submission: lines in, results out, and nothing lost or done twice when the connection breaks."""

import asyncio
import itertools
from dataclasses import replace

import msgspec
import pytest
from bulk_lines import PATH, item, lines, numbers, read
from conftest import KEY, app_of, until_connected
from duplex import Duplex

from sanic_qserver.api.bulk.state import MemoryBulks
from sanic_qserver.api.bulk.submission import BATCH_PATH
from sanic_qserver.errors import ManagerTimeout, NotFound, Overloaded, TooManyRequests
from sanic_qserver.manager.client.scheduler import READERS_S


async def test_each_line_gets_its_result_and_a_bad_one_fails_alone(client):
    body = lines(item(0), {"name": "no_such_plan"}, item(1)) + b"{nonsense\n" + lines(item(2)) + b"[]\n"
    response = await client.post(PATH, content=body)
    first, *results, last = read(response.content)
    assert response.headers["Content-Type"] == "application/x-ndjson"
    assert first["next_line"] == 0
    assert [(r["line"], r["success"]) for r in results] == [
        (0, True), (1, False), (2, True), (3, False), (4, True), (5, False)
    ]  # fmt: skip
    assert "not a JSON object" in results[3]["msg"]
    assert last == {"done": True, "lines": 6, "added": 3, "refused": 3}
    assert await numbers(client) == [0, 1, 2]
    assert results[0]["item_uid"]


@pytest.mark.parametrize("odd", [{"item_uid": {}}, {"item_uid": 5}, {"user": []}, {"item_type": {}}, {"meta": 0}])
async def test_an_odd_line_between_good_ones_ends_nothing(client, odd):
    response = await client.post(PATH, content=lines(item(0), {**item(1), **odd}, {**odd}, item(2)))
    _, *results, last = read(response.content)
    assert last["done"]
    assert [result["line"] for result in results] == [0, 1, 2, 3]
    assert [results[at]["success"] for at in (0, 2, 3)] == [True, False, True]


async def test_a_thousand_lines_arrive_in_order(client):
    response = await client.post(PATH, params={"results": "failed"}, content=lines(*map(item, range(1000))))
    assert read(response.content)[-1] == {"done": True, "lines": 1000, "added": 1000, "refused": 0}
    assert await numbers(client) == list(range(1000))


@pytest.mark.parametrize("is_read", [False, True])
async def test_batches_are_small_while_somebody_reads(is_read, client):
    await asyncio.sleep(READERS_S + 0.1)
    if is_read:
        await client.get("/api/status")
    response = await client.post(PATH, params={"results": "failed"}, content=lines(*map(item, range(160))))
    decided = [0, *(line["decided"] for line in read(response.content) if "decided" in line)]
    sizes = [after - before for before, after in itertools.pairwise(decided)]
    assert sum(sizes) == 160
    assert (max(sizes) <= 16) is is_read, sizes


async def test_no_lines_add_nothing(client):
    assert read((await client.post(PATH)).content)[-1] == {"done": True, "lines": 0, "added": 0, "refused": 0}


async def test_results_come_while_the_body_is_still_open(client):
    duplex = Duplex(client.port)
    assert "stream" in await duplex.open()
    for number in range(3):
        duplex.send(lines(item(number)))
        assert (await duplex.line())["line"] == number
    duplex.end()
    assert (await duplex.line())["done"]
    duplex.break_off()


async def test_a_broken_stream_goes_on_where_it_was(client):
    duplex = Duplex(client.port)
    token = (await duplex.open())["stream"]
    duplex.send(lines(item(0), item(1)))
    seen = [await duplex.line(), await duplex.line()]
    duplex.send(lines(*map(item, range(2, 40))))  # Their results are never read.
    await asyncio.sleep(0.02)
    duplex.break_off()
    response = await client.post(PATH, params={"resume": token, "next": 1}, content=lines(*map(item, range(1, 50))))
    first, *results, last = read(response.content)
    assert first["stream"] == token
    assert results[0] == seen[1]
    assert [result["line"] for result in results] == list(range(1, 50))
    assert all(result["success"] for result in results)
    assert last["added"] == 50
    assert await numbers(client) == list(range(50))


async def test_a_resumed_line_with_another_text_is_not_taken_for_the_first(client):
    token = read((await client.post(PATH, content=lines(item(0)))).content)[0]["stream"]
    response = await client.post(PATH, params={"resume": token, "next": 0}, content=lines(item(7)))
    assert read(response.content)[1]["code"] == "line_differs"
    assert await numbers(client) == [0]


@pytest.mark.parametrize(
    ("params", "status"), [({"resume": "unknown"}, 404), ({"next": 3}, 400), ({"results": "none"}, 400)]
)
async def test_what_cannot_be_gone_on_with_is_refused_before_the_first_line(client, params, status):
    assert (await client.post(PATH, params=params, content=lines(item(0)))).status_code == status
    assert await numbers(client) == []


async def test_a_stream_belongs_to_who_began_it():
    bulks = MemoryBulks()
    bulk = await bulks.begin("alice")
    assert await bulks.resume(bulk.token, "alice") is bulk
    with pytest.raises(NotFound):
        await bulks.resume(bulk.token, "bob")


async def test_an_endless_line_is_cut_off(client):
    response = await client.post(PATH, content=b'{"name":"' + b"x" * 1_500_000)
    assert read(response.content)[-1]["status"] == 413


async def test_without_the_scope_no_line_is_read(anonymous):
    assert (await anonymous.post(PATH, content=lines(item(0)))).status_code == 401


async def test_kept_results_are_bounded():
    bulk = await MemoryBulks().begin("alice")
    for _ in range(40_000):
        bulk.decide(b"d", b"x" * 100, is_added=True)
    assert bulk.decided == 40_000
    assert sum(len(result) for _, result in bulk.results) <= 2_000_000
    assert msgspec.json.decode(bulk.result(0, b"d"))["code"] == "result_dropped"


async def test_each_batch_of_a_stream_is_audited_and_within_the_quota(sanic_client, make_config, tmp_path):
    policy = tmp_path / "permissions.yaml"
    policy.write_text("roles:\n  unauthenticated_single_user:\n    quota: {batch_items: 3, queue_items: 8}\n")
    audit = tmp_path / "audit.log"
    config = make_config(policy={"permissions": str(policy)}, audit={"file": str(audit)})
    client = await sanic_client(app_of(config))
    client.headers["Authorization"] = f"ApiKey {KEY}"
    await until_connected(client)
    await client.post("/api/queue/clear")
    results = read((await client.post(PATH, content=lines(*map(item, range(12))))).content)
    assert [result["success"] for result in results[1:-1]] == [True] * 6 + [False] * 6
    assert results[8]["code"] == "too_many_requests"
    assert await numbers(client) == list(range(6))
    batches = [line for line in audit.read_text().splitlines() if "/queue/item/add/batch" in line]
    assert len(batches) == 4


@pytest.mark.parametrize("error", [Overloaded, TooManyRequests])
async def test_what_is_refused_for_now_is_tried_again(client, error):
    services = client.app.ctx.services
    row = next(row for row in services.rows if row.path == BATCH_PATH)
    refusals = [error("later", headers={"Retry-After": "0.05"})] * 2

    async def refusing(call):
        if refusals:
            raise refusals.pop()
        return await row.serve(call)

    object.__setattr__(services, "rows", (replace(row, serve=refusing),))
    results = read((await client.post(PATH, content=lines(item(0), item(1)))).content)
    assert [result["success"] for result in results[1:-1]] == [True, True]
    assert await numbers(client) == [0, 1]


@pytest.mark.parametrize(
    ("error", "success", "code"),
    [(ManagerTimeout("late"), None, "manager_timeout"), (TooManyRequests("never"), False, "too_many_requests")],
)
async def test_a_lost_batch_is_unknown_and_a_refused_one_is_not(client, error, success, code):
    services = client.app.ctx.services
    row = next(row for row in services.rows if row.path == BATCH_PATH)

    async def failing(call):
        raise error

    object.__setattr__(services, "rows", (replace(row, serve=failing),))
    results = read((await client.post(PATH, content=lines(item(0)))).content)
    assert (results[1]["success"], results[1]["code"]) == (success, code)


async def test_a_client_that_reads_only_at_the_end_gets_everything(client):
    """As most do: it sends the whole body first."""
    body = lines(*({"name": "queue_stop", "item_type": "instruction"} for _ in range(3000)))
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port, limit=2**24)
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: ApiKey {KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    text = await asyncio.wait_for(reader.readuntil(b'"done":true'), 60)
    assert text.count(b'"success":true') == 3000
    writer.transport.abort()


KEYED = {"Idempotency-Key": "stream-1"}


async def test_a_stream_that_is_sent_again_with_its_idempotency_key_adds_nothing_twice(client):
    body = lines(*map(item, range(5)))
    first = read((await client.post(PATH, content=body, headers=KEYED)).content)
    again = read((await client.post(PATH, content=body, headers=KEYED)).content)
    assert again[1:] == first[1:]
    assert len(await numbers(client)) == 5


async def test_a_broken_stream_goes_on_by_its_idempotency_key_alone(client):
    duplex = Duplex(client.port)
    await duplex.open(more="Idempotency-Key: broken\r\n")
    duplex.send(lines(*map(item, range(3))))
    for _ in range(3):
        await duplex.line()
    duplex.writer.close()
    body = lines(*map(item, range(6)))
    again = read((await client.post(PATH, content=body, headers={"Idempotency-Key": "broken"})).content)
    assert again[-1] == {"done": True, "lines": 6, "added": 6, "refused": 0}
    assert len(await numbers(client)) == 6


async def test_an_idempotency_key_of_another_call_or_of_a_forgotten_stream_does_nothing(client):
    body = lines(item(0))
    assert (await client.post("/api/queue/item/add", json={"item": item(0)}, headers={"Idempotency-Key": "a"})).json()
    assert (await client.post(PATH, content=body, headers={"Idempotency-Key": "a"})).status_code == 422
    await client.post(PATH, content=body, headers={"Idempotency-Key": "b"})
    client.app.ctx.services.bulks._bulks.clear()
    forgotten = await client.post(PATH, content=body, headers={"Idempotency-Key": "b"})
    assert (forgotten.status_code, forgotten.json()["outcome"]) == (409, "unknown")
    assert len(await numbers(client)) == 2


async def test_a_flood_of_empty_streams_takes_no_token_of_others():
    bulks = MemoryBulks()
    token = (await bulks.begin("alice")).token
    for _ in range(70):
        await bulks.begin("mallory")
    for number in range(70):
        await bulks.begin(f"crowd {number % 10}")
    assert (await bulks.resume(token, "alice")).token == token
    mine = await bulks.begin("bob")
    mine.decide(b"d", b"{}", is_added=True)
    for _ in range(30):
        await bulks.begin("bob")
    assert await bulks.resume(mine.token, "bob") is mine
