"""Who sees what became of each item: in RE Manager's own Redis, whatever anybody was told."""

import asyncio
import json
import time
from collections import Counter, defaultdict
from typing import Any

import httpx
import zmq
import zmq.asyncio
from chaos_clients import FAILED, Ledger, Watcher, number_of
from parts import DurableInstrument
from redis.asyncio import Redis
from redis.exceptions import RedisError


class Judge:
    """Sees every item that is in RE Manager's queue, in Redis itself, and takes acknowledged ones out to keep it small.

    An item counts when it was taken out here, or is there in the end: what RE Manager removes again, because its batch
    failed half-way, was never added. Items that ran are looked for in the history, in the end.
    """

    def __init__(self, instrument: DurableInstrument, ledger: Ledger) -> None:
        self.instrument, self.ledger = instrument, ledger
        self.uids: defaultdict[int, set[str]] = defaultdict(set)
        self.repeated = 0  # The same uid twice: RE Manager's own doing, its Redis client repeats a push.
        self._seen_twice: set[str] = set()
        self._last: list[dict[str, Any]] = []

    async def run(self, end: asyncio.Event) -> None:
        """Look once a second."""
        while not end.is_set():
            await asyncio.sleep(1)
            try:
                await self.look()
            except (RedisError, OSError, TimeoutError):
                continue

    async def look(self, *, takes_out: bool = True) -> list[str]:
        """The uids of the queue now."""
        async with Redis(port=self.instrument.data_port, socket_timeout=3, decode_responses=True) as redis:
            items = [json.loads(one) for one in await redis.lrange("qs_demo_plan_queue", 0, -1)]
            if not takes_out:
                ran = await redis.lrange("qs_demo_plan_history", 0, -1)
                running = json.loads(await redis.get("qs_demo_running_plan") or "{}")
                self._last = [*items, *map(json.loads, ran), *([running] if running else [])]
        uids = [one["item_uid"] for one in items]
        for uid, count in Counter(uids).items():
            if count > 1 and uid not in self._seen_twice:
                self._seen_twice.add(uid)
                self.repeated += 1
        known = self.ledger.added
        done = [one for one in items if number_of(one) in known]
        if takes_out and len(done) > 100:
            self._count(done[:-50])
            await self._remove([one["item_uid"] for one in done[:-50]])
        return uids

    def _count(self, items: list[dict[str, Any]]) -> None:
        for one in items:
            if (number := number_of(one)) is not None:
                self.uids[number].add(one["item_uid"])

    async def _remove(self, uids: list[str]) -> None:
        with zmq.asyncio.Context() as context, context.socket(zmq.REQ) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            socket.connect(self.instrument.control_address)
            params = {"uids": uids, "ignore_missing": True}
            await socket.send_json({"method": "queue_item_remove_batch", "params": params})
            if await socket.poll(5000):
                await socket.recv()

    def verdict(self) -> dict[str, Any]:
        """What is not as it was told."""
        added = self.ledger.added
        self._count(self._last)
        return {
            "items acknowledged": len(added),
            "items seen": len(self.uids),
            "acknowledged and lost": sorted(number for number in added if number not in self.uids),
            "added twice": sorted(number for number, uids in self.uids.items() if len(uids) > 1),
            "added and not acknowledged": sorted(number for number in self.uids if number not in added),
            "pushed twice by RE Manager's own Redis client": self.repeated,
        }


async def settle(instrument: DurableInstrument, client: httpx.AsyncClient) -> None:
    """Wait until everything answers again."""
    async with Redis(port=instrument.data_port, socket_timeout=3) as redis:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                await redis.config_set("min-replicas-to-write", 0)
                # RE Manager 0.0.25 ends by itself when its Redis refuses writes or is away while it starts.
                if instrument.manager is None or not instrument.manager.is_running:
                    await asyncio.to_thread(instrument.begin_manager)
                if (await client.get("/api/queue/get")).json()["success"]:
                    return
            except (RedisError, KeyError, ValueError, *FAILED):
                pass
            await asyncio.sleep(0.3)
    raise AssertionError("not everything answers 60 s after the last fault")


async def until_equal(watchers: list[Watcher], judge: Judge, timeout_s: float = 20.0) -> int:
    """Give the watchers time to get the last events. How many have another queue than RE Manager after that."""
    until = time.monotonic() + timeout_s
    while True:
        uids = await judge.look(takes_out=False)
        different = sum(watcher.queue != uids for watcher in watchers)
        if not different or time.monotonic() > until:
            return different
        await asyncio.sleep(0.5)


def sum_wrong(watchers: list[Watcher]) -> dict[str, int]:
    """What watchers saw that must not be, counted."""
    total: Counter[str] = Counter()
    for watcher in watchers:
        total.update({what: len(ids) for what, ids in watcher.wrong.items()})
    return dict(total)
