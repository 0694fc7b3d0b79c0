"""A replica is killed in the middle; the other one goes on, and nothing that was promised is broken."""

import asyncio
import contextlib
import itertools
import json
import signal
from collections import Counter

import httpx
import msgspec
import pytest
from bulk_lines import PATH
from conftest import until_so
from duplex import Duplex
from past_the_server import ask_manager
from servers import KEY, Instrument, ServerProcess

from sanic_qserver.middleware.idempotency.claims import WAIT_S
from sanic_qserver.middleware.idempotency.keys import LEASE_S

pytestmark = pytest.mark.slow

PLAN = {"name": "count", "args": [["det1"]], "item_type": "plan"}
HEADERS = {"Authorization": f"ApiKey {KEY}"}
POLICY = """
roles:
  unauthenticated_single_user: {quota: {queue_items: 3}}
"""
CONFIG = """
[manager]
short_deadline_s = 30.0
queue_wait_s = 20.0
[auth]
single_user_api_key = "{key}"
[policy]
permissions = "permissions.yaml"
[items]
stamp = true
[replicas]
redis = "redis://127.0.0.1:{port}/6"
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """An RE Manager whose process is stopped here."""
    with Instrument(tmp_path_factory.mktemp("own")) as running:
        yield running


class Replica(ServerProcess):
    """A server of its own, and a client of it."""

    def __init__(self, folder, own):
        super().__init__(folder, "serve", "--config", folder / "config.toml", environment=own.environment)
        self.client = httpx.AsyncClient(base_url=self.url, headers=HEADERS, timeout=60)

    async def add(self, number, **headers):
        item = {**PLAN, "meta": {"number": number}}
        return await self.client.post("/api/queue/item/add", json={"item": item}, headers=headers)

    async def numbers(self):
        items = (await self.client.get("/api/queue/get")).json()["items"]
        return [meta["number"] for item in items for meta in item["meta"] if "number" in meta]


@pytest.fixture
async def replicas(own, tmp_path):
    """Two servers in processes of their own that share a Redis."""
    (tmp_path / "permissions.yaml").write_text(POLICY)
    (tmp_path / "config.toml").write_text(CONFIG.format(key=KEY, port=own.redis_port))
    with Replica(tmp_path, own) as one, Replica(tmp_path, own) as other:
        assert (await other.client.post("/api/queue/clear")).json()["success"]
        yield one, other
        own.manager.signal(signal.SIGCONT)
        await one.client.aclose()
        await other.client.aclose()


async def test_what_a_killed_replica_had_sent_is_done_before_the_next_looks_at_the_quota(replicas, own):
    one, other = replicas
    for number in range(2):
        assert (await one.add(number)).json()["success"]
    own.manager.signal(signal.SIGSTOP)
    last = asyncio.ensure_future(one.add(2))
    await asyncio.sleep(0.5)  # It is sent: RE Manager does not take it yet.
    one.process.kill()
    one.process.wait()
    await asyncio.gather(last, return_exceptions=True)
    adding = asyncio.ensure_future(other.add(3))
    await asyncio.sleep(0.5)
    own.manager.signal(signal.SIGCONT)
    reply = await adding
    numbers = await other.numbers()
    assert len(numbers) == 3
    assert reply.status_code == (429 if 2 in numbers else 200)


async def test_a_replica_that_was_frozen_while_it_held_the_lock_sends_nothing_when_it_wakes(replicas, own):
    one, other = replicas
    for number in range(2):
        assert (await one.add(number)).json()["success"]
    own.manager.signal(signal.SIGSTOP)
    frozen = asyncio.ensure_future(one.add(2))
    await asyncio.sleep(0.5)  # It holds the lock, and waits for what it reads of the queue.
    one.process.send_signal(signal.SIGSTOP)
    own.manager.signal(signal.SIGCONT)
    assert (await other.add(3)).status_code == 200
    one.process.send_signal(signal.SIGCONT)
    late = await frozen
    assert (late.status_code, "edit lock" in late.json()["detail"]) == (503, True), late.text
    assert late.headers["Retry-After"]
    assert await other.numbers() == [0, 1, 3]
    assert (await one.add(4)).json()["rule"] == "quota.queue_items"


async def test_a_quota_is_never_exceeded_while_a_replica_is_killed(replicas):
    has_ended, seen, answers = asyncio.Event(), [], Counter()

    async def adder(which):
        number = which
        while not has_ended.is_set():
            with contextlib.suppress(httpx.HTTPError):
                answers[(await replicas[which % 2].add(number)).status_code] += 1
            await asyncio.sleep(0.05)

    async def remover():
        """Room for others, and a look at how many there are."""
        async with httpx.AsyncClient(timeout=60, headers=HEADERS) as client:
            for turn in itertools.count():
                if has_ended.is_set():
                    return
                with contextlib.suppress(httpx.HTTPError):
                    url = replicas[turn % 2].url
                    seen.append(len((await client.get(f"{url}/api/queue/get")).json()["items"]))
                    await client.post(f"{url}/api/queue/item/remove", json={"pos": "front"})
                await asyncio.sleep(0.02)

    work = [asyncio.ensure_future(one) for one in (*map(adder, range(12)), remover())]
    await until_so(lambda: answers[200] >= 10, 60)
    replicas[0].process.kill()
    before = answers[200]
    await until_so(lambda: answers[200] >= before + 10, 60)  # The other one goes on.
    has_ended.set()
    await asyncio.gather(*work)
    assert max(seen) <= 3, seen
    assert 3 in seen
    assert set(answers) <= {200, 429, 503}, answers


async def test_a_key_of_a_killed_replica_is_settled_by_the_stamp_at_another_one_and_never_done_twice(replicas, own):
    one, other = replicas
    done = await one.add(0, **{"Idempotency-Key": "done"})
    own.manager.signal(signal.SIGSTOP)
    cut_off = asyncio.ensure_future(one.add(1, **{"Idempotency-Key": "cut off"}))
    await asyncio.sleep(0.5)
    one.process.kill()
    one.process.wait()
    await asyncio.gather(cut_off, return_exceptions=True)
    own.manager.signal(signal.SIGCONT)
    assert (await other.add(0, **{"Idempotency-Key": "done"})).content == done.content
    async with asyncio.timeout(LEASE_S + WAIT_S + 5):
        while (reply := await other.add(1, **{"Idempotency-Key": "cut off"})).status_code == 409:
            assert reply.headers["Retry-After"]
            if reply.json()["state"] != "running":
                break
    numbers = await other.numbers()
    assert numbers.count(0) == 1
    if reply.status_code == 200:  # It was done, and the stamp proves it.
        assert (numbers.count(1), reply.headers["Idempotency-Replayed"]) == (1, "true")
        assert reply.json()["item"]["meta"]
    else:  # It was lost with the connection.
        assert (numbers.count(1), reply.json()["outcome"]) == (0, "not_found")


async def test_a_stream_begun_at_a_killed_replica_goes_on_at_another_one_and_nothing_is_sent_twice(replicas, own):
    one, other = replicas
    items = [{**PLAN, "meta": {"number": number}} for number in range(3)]
    encoded = [msgspec.json.encode(item) + b"\n" for item in items]
    duplex = Duplex(one.port)
    results = [await duplex.open()]
    duplex.send(encoded[0])
    results.append(await duplex.line())
    own.manager.signal(signal.SIGSTOP)
    duplex.send(encoded[1])
    await asyncio.sleep(0.5)  # The second line is sent: RE Manager does not take it yet.
    one.process.kill()
    one.process.wait()
    duplex.break_off()
    own.manager.signal(signal.SIGCONT)
    token = results[0]["stream"]
    resumed = await other.client.post(PATH, params={"resume": token}, content=b"".join(encoded))
    told = [msgspec.json.decode(line) for line in resumed.content.splitlines() if line.strip()]
    assert told[0] == {"stream": token, "next_line": 2}
    assert told[1] == results[1]
    assert (told[2]["success"], told[2]["outcome"]) == (None, "unknown")
    assert told[3]["success"]
    numbers = await other.numbers()
    assert sorted(numbers) in ([0, 2], [0, 1, 2])  # Sent once; it may be lost with the connection.


REVIEW = """
roles:
  unauthenticated_single_user:
    scopes_remove: ["write:queue:edit"]
    scopes_add: ["write:queue:edit:own", "write:proposals:decide"]
    review: automatic
"""
REVIEW_CONFIG = """
[proposals]
own_approval = true
[database]
url = "{url}"
"""


async def read_proposals(server, **query):
    reply = (await server.client.get("/api/proposals", params={"limit": 100, **query})).json()
    return {find_mark(item, "number"): one for one in reply["proposals"] for item in one["items"]}


def find_mark(item, name):
    """What stands under this name in an item's `meta`."""
    return next(part[name] for part in item["meta"] if name in part)


async def add_until_proposed(servers, number):
    """Add at the first server; after a lost connection at the next one, with the same key while it may help."""
    servers, key = iter(servers), f"{number}"
    server = next(servers)
    while True:
        try:
            reply = await server.add(number, **{"Idempotency-Key": key})
        except httpx.HTTPError:
            server = next(servers)
            continue
        if reply.status_code == 202:
            return
        if reply.status_code == 409 and reply.json()["outcome"] == "not_found":
            key += " again"
        else:
            assert reply.status_code == 503 or reply.json()["state"] == "running", reply.text
        await asyncio.sleep(0.2)


async def approve_until_queued(servers, number):
    servers = iter(servers)
    server, headers = next(servers), {"If-Match": '"1"'}
    while True:
        try:
            one = (await read_proposals(server))[number]
            if one["state"] == "queued":
                return
            await server.client.post(f"/api/proposals/{one['id']}/approve", json={}, headers=headers)
        except httpx.HTTPError:
            server = next(servers)
        await asyncio.sleep(0.5)


@pytest.mark.timeout(120)
async def test_what_a_review_made_of_adds_is_queued_exactly_once_when_a_replica_is_killed(own, url, tmp_path):
    (tmp_path / "permissions.yaml").write_text(REVIEW)
    text = CONFIG.format(key=KEY, port=own.redis_port).replace("queue_wait_s = 20.0", "queue_wait_s = 1.0")
    text = text.replace("[auth]", f'[auth]\nsecret_keys = ["{"s" * 32}"]')
    (tmp_path / "config.toml").write_text(text + REVIEW_CONFIG.format(url=url))
    assert json.loads(ask_manager(own.control_address, "queue_clear"))["success"]  # The servers' own key may not.
    with Replica(tmp_path, own) as one, Replica(tmp_path, own) as other:
        for number in range(4):
            await add_until_proposed([one], number)
        own.manager.signal(signal.SIGSTOP)
        try:
            cut_off = [asyncio.ensure_future(approve_until_queued([one, other], number)) for number in range(3)]
            await until_async(lambda: read_proposals(other, state="approving"), 3)
            cut_off += [asyncio.ensure_future(add_until_proposed([one, other], number)) for number in range(4, 7)]
            await asyncio.sleep(0.3)  # They wait for RE Manager's verdict. If they do not yet, so much the better.
            one.process.kill()
            one.process.wait()
        finally:
            own.manager.signal(signal.SIGCONT)
        await asyncio.gather(*cut_off, approve_until_queued([other], 3))
        await asyncio.gather(*(approve_until_queued([other], number) for number in range(4, 7)))
        found = await read_proposals(other)
        items = (await other.client.get("/api/queue/get")).json()["items"]
        assert (await other.client.get("/api/proposals")).json()["total"] == 7
        marks = [(find_mark(item, "qserver")["proposal"], find_mark(item, "number")) for item in items]
        assert sorted(marks, key=lambda mark: mark[1]) == [(found[number]["id"], number) for number in range(7)]
        for each in (one, other):
            await each.client.aclose()


async def until_async(read, count):
    async with asyncio.timeout(60):
        while len(await read()) < count:
            await asyncio.sleep(0.05)
