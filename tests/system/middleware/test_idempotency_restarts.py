"""Idempotency-Keys outlive the server that took them: it is killed, ended, and loses its store."""

import asyncio
import signal
import sys

import httpx
import pytest
from conftest import KEY

from sanic_qserver.demo import Instrument, Part, free_port
from sanic_qserver.middleware.idempotency.claims import WAIT_S
from sanic_qserver.middleware.idempotency.keys import LEASE_S

CONFIG = """
[server]
port = {port}
[manager]
control_address = "{control}"
info_address = "{info}"
short_deadline_s = 30.0
queue_wait_s = 30.0
[auth]
single_user_api_key = "{key}"
[idempotency]
store = "{store}"
[policy]
rate_limits = "rates.yaml"
"""


class Gateway:
    """A server in a process of its own, which can be started again with the same configuration."""

    def __init__(self, folder, instrument, store):
        self.folder, self.port = folder, free_port()
        (folder / "rates.yaml").write_text("rates: []\n")
        control, info = instrument.control_address, instrument.info_address
        text = CONFIG.format(port=self.port, control=control, info=info, key=KEY, store=store)
        (folder / "config.toml").write_text(text)
        self.client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={"Authorization": f"ApiKey {KEY}"},
            timeout=60,
            limits=httpx.Limits(max_connections=200),
        )

    async def start(self):
        command = [sys.executable, "-m", "sanic_qserver", "serve", "--config", str(self.folder / "config.toml")]
        self.part = Part("gateway", command, self.folder, {})
        async with asyncio.timeout(30):
            while True:
                try:
                    if (await self.client.get("/api/queue/get")).status_code == 200:
                        return
                except httpx.HTTPError:
                    pass
                await asyncio.sleep(0.05)

    async def add(self, key, number):
        item = {"name": "count", "args": [["det1"]], "item_type": "plan", "meta": {"number": number}}
        return await self.client.post("/api/queue/item/add", json={"item": item}, headers=self._headers(key))

    def _headers(self, key):
        return {"Idempotency-Key": f"{self.port} {key}"}  # The Redis of the keys is shared by these tests.

    async def numbers(self):
        items = (await self.client.get("/api/queue/get")).json()["items"]
        return sorted(item["meta"]["number"] for item in items)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """An RE Manager whose process is stopped here."""
    with Instrument(tmp_path_factory.mktemp("own")) as running:
        yield running


@pytest.fixture(params=["sqlite", "redis"])
async def gateway(request, own, tmp_path):
    store = "sqlite" if request.param == "sqlite" else f"redis://127.0.0.1:{own.redis_port}/7"
    gateway = Gateway(tmp_path, own, store)
    await gateway.start()
    assert (await gateway.client.post("/api/queue/clear")).json()["success"]
    yield gateway
    own.manager.signal(signal.SIGCONT)
    await gateway.client.aclose()
    gateway.part.stop()


async def first_that_is_settled(gateway, key, number):
    """The first answer that tells what became of a call, and how many came before it. Bounded by lease and wait."""
    async with asyncio.timeout(LEASE_S + WAIT_S + 15):
        tries = 0
        while True:
            reply = await gateway.add(key, number)
            if reply.status_code != 409 or reply.json()["state"] != "running":
                return reply, tries
            assert reply.headers["Retry-After"]
            tries += 1


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
async def test_keys_outlive_the_server_and_what_was_sent_is_not_done_again(gateway, own, end):
    done = await gateway.add("done", 1)
    assert done.json()["success"]
    own.manager.signal(signal.SIGSTOP)
    cut_off = asyncio.ensure_future(gateway.add("cut off", 2))
    other = asyncio.ensure_future(gateway.add("waiting", 3))  # Behind the first: it may or may not have been sent.
    await asyncio.sleep(0.5)
    gateway.part.signal(end)
    gateway.part.process.wait(20)
    await asyncio.gather(cut_off, other, return_exceptions=True)
    own.manager.signal(signal.SIGCONT)
    await gateway.start()
    again = await gateway.add("done", 1)
    assert again.content == done.content
    assert again.headers["Idempotency-Replayed"] == "true"
    told, tries = await first_that_is_settled(gateway, "cut off", 2)
    assert (told.status_code, told.json()["state"]) == (409, "unknown")
    found = len(told.json()["equal_item_uids"])  # A sent call may be lost with the connection.
    assert told.json()["outcome"] == ("unknown" if found else "not_found")
    assert told.headers["Retry-After"]
    assert tries <= 2
    waited, _ = await first_that_is_settled(gateway, "waiting", 3)
    numbers = await gateway.numbers()
    assert (numbers.count(1), numbers.count(2)) == (1, found)
    if waited.status_code == 200:
        assert numbers.count(3) == 1
    else:
        assert waited.json()["outcome"] == ("not_found" if numbers.count(3) == 0 else "unknown")
        assert numbers.count(3) <= 1


async def test_a_hundred_keyed_calls_at_once_are_all_served(gateway):
    replies = await asyncio.gather(*(gateway.add(f"crowd {number}", number) for number in range(100)))
    assert [reply.status_code for reply in replies] == [200] * 100
    again = await asyncio.gather(*(gateway.add(f"crowd {number}", number) for number in range(100)))
    assert [reply.content for reply in again] == [reply.content for reply in replies]
    assert await gateway.numbers() == list(range(100))


async def test_a_store_that_is_away_for_a_moment_holds_nobody_up_afterwards(own, tmp_path):
    keys = Instrument(tmp_path / "keys")
    keys.folder.mkdir()
    keys.start_redis()
    gateway = Gateway(tmp_path, own, f"redis://127.0.0.1:{keys.redis_port}/0")
    try:
        await gateway.start()
        await gateway.client.post("/api/queue/clear")
        assert (await gateway.add("before", 1)).json()["success"]
        keys.redis.signal(signal.SIGKILL)
        keys.redis.process.wait()
        away = await gateway.add("away", 2)
        assert (away.status_code, away.json()["code"]) == (503, "overloaded")
        keys.start_redis()
        async with asyncio.timeout(20):
            while (reply := await gateway.add("away", 2)).status_code != 200:
                assert reply.status_code == 503
                await asyncio.sleep(0.1)
        assert (await gateway.add("away", 2)).content == reply.content
        assert await gateway.numbers() == [1, 2]
    finally:
        await gateway.client.aclose()
        gateway.part.stop()
        keys.stop()
