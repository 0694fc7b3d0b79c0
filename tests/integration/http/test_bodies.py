"""Bodies are read after the gate has decided, within the limit of their row, and within a budget for all of them."""

import asyncio
import contextlib
import re
import socket

import pytest
from conftest import KEY, Served, app_of

from sanic_qserver.api.endpoint import LinesEndpoint
from sanic_qserver.api.table import ENDPOINTS
from sanic_qserver.config.settings import load

LARGEST = 200_000
POLICY = """
roles:
  unauthenticated_single_user: {scopes: ["*"]}
  unauthenticated_public: {scopes: []}
"""
# The line-wise row bounds each line instead: see tests/integration/api/bulk.
READ_WHOLE = [row for row in ENDPOINTS if not isinstance(row, LinesEndpoint)]
every_row = pytest.mark.parametrize("row", ENDPOINTS, ids=lambda row: row.name)


@pytest.fixture(scope="module")
def served(instrument, tmp_path_factory):
    """A server whose key may do everything, and whose anonymous callers nothing."""
    policy = tmp_path_factory.mktemp("policy") / "permissions.yaml"
    policy.write_text(POLICY)
    overrides = {
        "auth": {"single_user_api_key": KEY},
        "policy": {"permissions": str(policy)},
        "server": {"max_body_bytes": LARGEST},
    }
    served = Served(app_of(load(environment=instrument.environment, overrides=overrides)))
    yield served
    served.close()


def path_of(row):
    return "/api" + re.sub(r"<[^>]+>", "x", row.path)


def head(row, length, key="", **headers):
    lines = [f"{row.verb} {path_of(row)} HTTP/1.1", "Host: localhost", f"Content-Length: {length}"]
    lines += [f"Authorization: ApiKey {key}"] if key else []
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def status_of(served, *sent):
    """The status of the answer to what was sent. It has to come without another byte."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        for piece in sent:
            connection.sendall(piece)
        return int(connection.recv(65_536).split()[1])


def limit_of(row):
    return min(row.max_body_bytes, LARGEST)


def test_no_route_lets_sanic_read_the_body_before_the_gate_has_decided(served):
    assert [route.path for route in served.app.router.routes if not route.extra.ignore_body] == []


@pytest.mark.parametrize("row", [row for row in ENDPOINTS if row.scope is not None], ids=lambda row: row.name)
def test_who_may_not_is_told_before_the_body_is_sent(served, row):
    assert status_of(served, head(row, limit_of(row))) == 401


def test_a_wrong_key_is_told_before_the_body_is_sent(served):
    row = next(row for row in ENDPOINTS if row.path == "/queue/item/add")
    assert status_of(served, head(row, 1000, "wrong")) == 401


@pytest.mark.parametrize("row", READ_WHOLE, ids=lambda row: row.name)
def test_a_body_of_a_rows_limit_plus_one_is_413_before_it_is_sent(served, row):
    assert status_of(served, head(row, limit_of(row) + 1, KEY)) == 413


@pytest.mark.parametrize("row", READ_WHOLE, ids=lambda row: row.name)
def test_a_chunked_body_of_a_rows_limit_plus_one_is_413(served, row):
    start = head(row, 0, KEY).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    chunk = b"%x\r\n%b\r\n" % (30_000, b"x" * 30_000)
    whole, rest = divmod(limit_of(row) + 1, 30_000)
    with contextlib.suppress(ConnectionError):
        assert status_of(served, start, chunk * whole, b"%x\r\n%b\r\n" % (rest, b"x" * rest)) == 413


def test_public_and_ordinary_rows_take_64_kb_and_items_and_files_more():
    large = {row.path for row in ENDPOINTS if row.max_body_bytes > 65_536}
    assert large >= {
        "/queue/item/add", "/queue/item/add/batch", "/queue/item/execute", "/queue/item/update",
        "/queue/item/remove/batch", "/queue/item/move/batch", "/queue/item/validate/batch", "/queue/upload/spreadsheet",
        "/permissions/set", "/function/execute", "/script/upload", "/auth/provider/<provider:str>/code",
    }  # fmt: skip
    assert not [row.path for row in ENDPOINTS if row.scope is None and row.max_body_bytes > 262_144]


async def test_a_body_that_drips_is_cut_off_at_every_row(sanic_client, make_config, tmp_path):
    (tmp_path / "permissions.yaml").write_text(POLICY)
    client = await sanic_client(
        app_of(make_config(server={"body_timeout_s": 1.0}, policy={"permissions": str(tmp_path / "permissions.yaml")}))
    )

    async def drip(row):
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
        writer.write(head(row, 1000, KEY))
        reading = asyncio.ensure_future(reader.read())
        while not reading.done():
            with contextlib.suppress(ConnectionError):
                writer.write(b"a")
                await writer.drain()
            await asyncio.wait((reading,), timeout=0.2)
        writer.close()
        return row.path, int(reading.result().split()[1])

    async with asyncio.timeout(30):
        answers = await asyncio.gather(*map(drip, READ_WHOLE))
    assert [answer for answer in answers if answer[1] != 408] == []
    assert client.app.ctx.bodies.budget.used == 0


async def test_all_bodies_in_memory_are_within_a_budget_and_are_given_back(sanic_client, make_config):
    limits = {"max_body_bytes": 100_000, "max_bodies_bytes": 150_000}
    client = await sanic_client(app_of(make_config(server=limits)))
    budget = client.app.ctx.bodies.budget
    assert (budget.total, budget.per_address) == (150_000, 100_000)
    row = next(row for row in ENDPOINTS if row.path == "/queue/item/add")
    _, first = await asyncio.open_connection("127.0.0.1", client.port)
    first.write(head(row, 95_000, KEY) + b"x" * 90_000)
    while budget.used < 90_000:
        await asyncio.sleep(0.01)
    reader, second = await asyncio.open_connection("127.0.0.1", client.port)
    second.write(head(row, 20_000, KEY) + b"x" * 20_000)
    answer = await reader.read(65_536)
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"retry-after" in answer.lower()
    for writer in (first, second):
        writer.close()
    while budget.used:
        await asyncio.sleep(0.01)
    client.headers["Authorization"] = f"ApiKey {KEY}"
    padding = {"item": {"name": "x" * 90_000, "item_type": "plan"}}
    assert (await client.post("/api/queue/item/add", json=padding)).status_code == 200
    assert budget.used == 0


@pytest.mark.parametrize(("size", "status"), [(800_000, 413), (50_000, 415)])
async def test_a_login_form_in_punycode_is_refused_unread(visitor, size, status):
    body = (
        b'--x\r\nContent-Disposition: form-data; name="username"\r\nContent-Type: text/plain; charset=punycode\r\n\r\n'
        + b"a" * size
        + b"\r\n--x--\r\n"
    )
    answer = await visitor.post(
        "/api/auth/provider/toy/token", content=body, headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert answer.status_code == status


async def test_a_million_brackets_are_refused_before_they_are_decoded(client):
    body = b'{"item": {"name": "count", "item_type": "plan", "args": [' + b"[]," * 1_000_000 + b"[]]}}"
    assert (await client.post("/api/queue/item/add", content=body)).status_code == 422
