"""Subscribers that come and go at random against a live manager that runs plans: together they miss nothing."""

import asyncio
import json
import random

import pytest
from conftest import KEY
from watching import Events, Watcher

HEADERS = {"Authorization": f"ApiKey {KEY}"}
PLAN = {"name": "count", "args": [["det1"]], "item_type": "plan"}
TOPICS = "queue,history,status,runs"
pytestmark = pytest.mark.slow


class Steady:
    """Watches without a break: what is compared with."""

    def __init__(self):
        self.ids = []
        self.last = []

    async def run(self, port):
        watcher = await Watcher.connect(port, f"/api/events?topics={TOPICS}", HEADERS)
        while True:
            event = json.loads(await watcher.recv(60))
            if event["topic"] != "stream" and event["type"] != "snapshot":
                self.ids.append(event["id"])
                self.last.append(event)


class Restless:
    """Leaves at random and comes back with the last id, over a websocket or as an EventSource."""

    def __init__(self, seed):
        self.dice = random.Random(seed)
        self.ids = []
        self.last_id = ""
        self.gaps = 0
        self.returns = -1

    async def run(self, port):
        while True:
            self.returns += 1
            read, leave = await self.come(port)
            until = asyncio.get_running_loop().time() + self.dice.uniform(0, 0.6)
            try:
                while (left_s := until - asyncio.get_running_loop().time()) > 0:
                    self.see(await read(left_s))
            except TimeoutError:
                pass
            await leave()
            await asyncio.sleep(self.dice.uniform(0, 0.3))

    async def come(self, port):
        path = f"/api/events?topics={TOPICS}"
        if self.dice.random() < 0.5:
            watcher = await Watcher.connect(port, path + (f"&since={self.last_id}" if self.last_id else ""), HEADERS)
            return watcher.recv, watcher.leave
        last = {"Last-Event-ID": self.last_id} if self.last_id else {}
        events = await Events.connect(port, path, {**HEADERS, **last})

        async def read(timeout_s):
            return (await events.next(timeout_s))["data"]

        return read, events.leave

    def see(self, text):
        event = json.loads(text)
        self.gaps += event["type"] == "gap"
        if event["id"] is not None:
            self.last_id = event["id"]
        if event["topic"] != "stream" and event["type"] != "snapshot":
            self.ids.append(event["id"])


async def test_who_comes_and_goes_misses_nothing_while_plans_run(open_environment):
    client = open_environment
    steady = Steady()
    tasks = [asyncio.ensure_future(steady.run(client.port))]
    await asyncio.sleep(0.5)
    restless = [Restless(seed) for seed in range(6)]
    tasks += [asyncio.ensure_future(one.run(client.port)) for one in restless]
    # Each must have begun before the first change that is compared.
    async with asyncio.timeout(10):
        while not all(one.last_id for one in restless):
            await asyncio.sleep(0.02)
    dice = random.Random(7)
    uids = []
    for number in range(8):
        reply = (await client.post("/api/queue/item/add", json={"item": PLAN, "pos": "front"})).json()
        uids.append(reply["item"]["item_uid"])
        if number == 2:
            assert (await client.post("/api/queue/start")).json()["success"]
        if number % 3 == 2:
            await client.post("/api/queue/item/move", json={"pos": "back", "pos_dest": "front"})
        await asyncio.sleep(dice.uniform(0, 0.3))
    reply = await client.get("/api/status", params={"wait_for": "queue_empty", "timeout": 40})
    assert reply.json()["wait"]["met"]
    await asyncio.sleep(0.5)
    final = steady.ids[-1]
    try:
        async with asyncio.timeout(20):
            while not all(one.last_id == final or one.ids[-1:] == [final] for one in restless):
                await asyncio.sleep(0.05)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    finished = [e["data"]["item_uid"] for e in steady.last if e["type"] == "item_finished"]
    recorded = [e["data"]["item_uid"] for e in steady.last if (e["topic"], e["type"]) == ("history", "item_added")]
    assert sorted(finished) == sorted(recorded) == sorted(uids)
    assert sum(one.returns for one in restless) > 20
    for one in restless:
        assert one.gaps == 0
        assert one.ids == steady.ids[-len(one.ids) :]
        assert len(one.ids) >= len(uids) * 3
