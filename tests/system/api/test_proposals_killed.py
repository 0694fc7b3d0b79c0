"""Approvals are carried out exactly once, whoever is killed in the middle. Real processes, really killed."""

import asyncio
import random
import signal
from collections import Counter

import httpx
import pytest
from conftest import KEY
from servers import Instrument, ServerProcess

PLAN = {"name": "count", "args": [["det1"]], "item_type": "plan"}
COUNT = 40
CONFIG = """
[auth]
single_user_api_key = "the-key-of-the-tests"
[proposals]
own_approval = true
"""
HEADERS = {"Authorization": f"ApiKey {KEY}"}


@pytest.fixture
def own(tmp_path):
    with Instrument(tmp_path / "instrument") as running:
        yield running


class Gateway:
    """A server that is killed and started again, always at a new address."""

    def __init__(self, folder, environment):
        self._folder = folder
        self._environment = environment
        (folder / "config.toml").write_text(CONFIG)
        self.process = self._start()

    def _start(self):
        arguments = ("serve", "--config", self._folder / "config.toml")
        return ServerProcess(self._folder, *arguments, environment=self._environment).__enter__()

    def kill(self):
        """End it at once, and start another."""
        self.process.stop(signal.SIGKILL)
        self.process = self._start()


async def call(gateway, verb, path, **more):
    """The reply; None when there is none, because somebody died."""
    try:
        async with httpx.AsyncClient(base_url=gateway.process.url, headers=HEADERS, timeout=30) as client:
            return await client.request(verb, f"/api{path}", **more)
    except httpx.HTTPError:
        return None


async def read_all(gateway):
    reply = await call(gateway, "GET", "/proposals?limit=1000")
    return [] if reply is None or reply.status_code != 200 else reply.json()["proposals"]


async def until_settled(gateway):
    """Every proposal, once none is being approved any more."""
    async with asyncio.timeout(90):
        while True:
            found = await read_all(gateway)
            if len(found) == COUNT and all(one["state"] != "approving" for one in found):
                return found
            await asyncio.sleep(0.3)


async def approve(gateway, key):
    for _ in range(100):
        await call(gateway, "POST", f"/proposals/{key}/approve", json={}, headers={"If-Match": '"1"'})
        found = await call(gateway, "GET", f"/proposals/{key}")
        if found is not None and found.status_code == 200 and found.json()["proposal"]["state"] == "queued":
            return
        await asyncio.sleep(0.2)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_each_proposal_is_queued_once_while_the_gateway_and_re_manager_are_killed(own, tmp_path):
    random.seed(11)
    gateway = Gateway(tmp_path, own.environment)
    try:
        for number in range(COUNT):
            reply = await call(gateway, "POST", "/proposals", json={"items": [PLAN, PLAN], "title": f"{number}"})
            assert reply.status_code == 201, reply.text
        keys = [one["id"] for one in await read_all(gateway)]

        async def approve_some(mine):
            for key in mine:
                await approve(gateway, key)

        work = asyncio.gather(*[approve_some(keys[start::6]) for start in range(6)])
        for number in range(6):
            await asyncio.sleep(random.uniform(0.05, 0.4))
            if number in (2, 4):
                own.manager.signal(signal.SIGKILL)
                own.manager.stop()
                await asyncio.to_thread(own.start_manager)
            else:
                await asyncio.to_thread(gateway.kill)
        await work
        found = await until_settled(gateway)
        items = (await call(gateway, "GET", "/queue/get")).json()["items"]
    finally:
        gateway.process.stop()
    marks = Counter(item["meta"][0]["qserver"]["proposal"] for item in items)
    assert Counter(one["state"] for one in found) == {"queued": COUNT}
    assert marks == dict.fromkeys(keys, 2)
    assert {uid for one in found for uid in one["item_uids"]} == {item["item_uid"] for item in items}
