"""The clients of `chaos.py` and `rolling.py`: what a careful client does, and what it was told.

Each item carries a number of its own, so that it can be found again. `Ledger` holds what every client believes in the
end; the judge compares it with what was in RE Manager's queue.
"""

import asyncio
import json
import random
import time
import uuid
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import httpx

FAILED = (httpx.HTTPError, OSError, TimeoutError)
PATH = "/api/queue/item/add"


def item(number: int) -> dict[str, Any]:
    """A plan that can be told from all others, and takes some seconds where plans run."""
    return {
        "name": "count",
        "args": [["det1"]],
        "kwargs": {"num": 5, "delay": 1},
        "item_type": "plan",
        "meta": {"number": number},
    }


class Failure(NamedTuple):
    """What a client saw go wrong: when it first asked for this, when it was told, and what. Seconds, monotonic."""

    asked_at: float
    told_at: float
    what: str


def number_of(one: dict[str, Any]) -> int | None:
    """The number of such a plan in RE Manager; None for another one. A stamp makes a list of `meta`."""
    meta = one.get("meta")
    return next(
        (part["number"] for part in (meta if isinstance(meta, list) else [meta or {}]) if "number" in part), None
    )


@dataclass
class Ledger:
    """What clients believe: `added` (acknowledged, or found again), `absent` (told that it was not added).

    And what happened to them: each call that failed; of each kind of success (`reads`, `adds`, `events`) the first
    since `first` was cleared, and the longest time without one since `longest_gap_s` was.
    """

    added: set[int] = field(default_factory=set)
    absent: set[int] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    running_s: list[float] = field(default_factory=list)
    resolved_s: list[float] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    first: dict[str, float] = field(default_factory=dict)
    longest_gap_s: dict[str, float] = field(default_factory=dict)
    _latest: dict[str, float] = field(default_factory=dict)
    _number: int = 0

    def next_number(self) -> int:
        """A number that no other item has."""
        self._number += 1
        return self._number

    def note_failure(self, asked_at: float, what: str) -> None:
        """Something went wrong now."""
        self.failures.append(Failure(asked_at, time.monotonic(), what))

    def note_success(self, kind: str) -> None:
        """A client got something now."""
        now = time.monotonic()
        self.first.setdefault(kind, now)
        self.longest_gap_s[kind] = max(self.longest_gap_s.get(kind, 0.0), now - self._latest.get(kind, now))
        self._latest[kind] = now


class Submitter:
    """Adds one item after the other, each under an Idempotency-Key, and asks until it knows what became of it.

    `gives_up`: the share of calls whose client waits for 20 ms only.
    """

    def __init__(
        self, client: httpx.AsyncClient, ledger: Ledger, rng: random.Random, pause_s: float, gives_up: float = 0.03
    ) -> None:
        self._client, self._ledger, self._rng, self._pause_s = client, ledger, rng, pause_s
        self._gives_up = gives_up

    async def run(self, end: asyncio.Event) -> None:
        """Until the end; an item that was begun is brought to its end."""
        while not end.is_set():
            number = self._ledger.next_number()
            started = time.monotonic()
            while not await self._add(number):
                self._ledger.counts["taken up with a new key"] += 1
            self._ledger.resolved_s.append(time.monotonic() - started)
            self._ledger.note_success("adds")
            await asyncio.sleep(self._rng.uniform(0, 2 * self._pause_s))

    async def _add(self, number: int) -> bool:
        """Whether the item is in the queue now; False when it is known not to be."""
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        running_since: float | None = None
        asked_at = time.monotonic()
        while True:
            reply = await self._ask(number, headers, asked_at)
            if reply is None:
                await asyncio.sleep(self._rng.uniform(0.05, 0.5))
                continue
            told = _decode(reply)
            if reply.status_code != 200:
                self._ledger.note_failure(asked_at, f"add: {reply.status_code} {told.get('code', '')}")
            self._ledger.counts[f"{reply.status_code} {told.get('code') or told.get('outcome') or ''}".strip()] += 1
            if reply.status_code == 409 and told.get("state") == "running":
                running_since = running_since or time.monotonic()
            elif running_since is not None and reply.status_code not in (429, 503):
                self._ledger.running_s.append(time.monotonic() - running_since)
                running_since = None
            if (known := self._known(number, reply.status_code, told)) is not None:
                return known
            await asyncio.sleep(float(reply.headers.get("Retry-After", 0.2)) * self._rng.uniform(0.5, 1))

    def _known(self, number: int, status: int, told: dict[str, Any]) -> bool | None:
        if status == 200 and told["success"]:
            self._ledger.added.add(number)
            return True
        if status == 200 and told.get("outcome") != "unknown":
            return False
        if status == 409 and told.get("equal_item_uids"):
            self._ledger.added.add(number)
            return True
        if status == 409 and told.get("outcome") == "not_found":
            return False
        if status not in (200, 408, 409, 429, 502, 503, 504):  # 502 and 504 are a proxy's.
            raise AssertionError(f"{status} {told}")
        return None

    async def _ask(self, number: int, headers: dict[str, str], asked_at: float) -> httpx.Response | None:
        """The reply; None when the connection broke, or the client had enough (now and then after 20 ms)."""
        patience_s = 0.02 if self._rng.random() < self._gives_up else 20.0
        try:
            async with asyncio.timeout(patience_s):
                return await self._client.post(PATH, json={"item": item(number)}, headers=headers)
        except FAILED as error:
            self._ledger.counts["connection broken or given up"] += 1
            if patience_s > 1:
                self._ledger.note_failure(asked_at, f"add: {type(error).__name__}")
            return None


def _decode(reply: httpx.Response) -> dict[str, Any]:
    """The JSON object of a reply. A proxy's own are HTML."""
    told = reply.json() if "json" in reply.headers.get("content-type", "") else {}
    return told if isinstance(told, dict) else {}


class Reader:
    """Reads what a page reads: status, queue, history."""

    PATHS = ("/api/status", "/api/queue/get", "/api/history/get")

    def __init__(self, client: httpx.AsyncClient, ledger: Ledger, rng: random.Random, pause_s: float) -> None:
        self._client, self._ledger, self._rng, self._pause_s = client, ledger, rng, pause_s

    async def run(self, end: asyncio.Event) -> None:
        """Until the end."""
        while not end.is_set():
            asked_at, path = time.monotonic(), self._rng.choice(self.PATHS)
            try:
                async with asyncio.timeout(10):
                    reply = await self._client.get(path)
            except FAILED as error:
                self._ledger.note_failure(asked_at, f"read: {type(error).__name__}")
            else:
                self._ledger.counts[f"read {reply.status_code}"] += 1
                if reply.status_code == 200:
                    self._ledger.note_success("reads")
                else:
                    self._ledger.note_failure(asked_at, f"read: {reply.status_code} {_decode(reply).get('code', '')}")
            await asyncio.sleep(self._rng.uniform(0, 2 * self._pause_s))


class Streamer:
    """Adds fifty items at a time as lines, goes on with the token, and looks for itself when the token is gone."""

    def __init__(self, client: httpx.AsyncClient, ledger: Ledger, rng: random.Random, pause_s: float) -> None:
        self._client, self._ledger, self._rng, self._pause_s = client, ledger, rng, pause_s

    async def run(self, end: asyncio.Event) -> None:
        """Until the end; what was begun is brought to its end."""
        while not end.is_set():
            numbers = [self._ledger.next_number() for _ in range(self._rng.randint(5, 60))]
            while numbers:
                numbers = await self._send(numbers)
            await asyncio.sleep(self._rng.uniform(0, 10 * self._pause_s))

    async def _send(self, numbers: list[int]) -> list[int]:
        """Those that are known not to be in the queue."""
        token, known, refused = "", dict[int, bool | None](), set[int]()
        while len(known) < len(numbers):
            first = next(at for at in range(len(numbers)) if at not in known)
            params = {"resume": token, "next": str(first)} if token else {}
            body = b"".join(json.dumps(item(number)).encode() + b"\n" for number in numbers[first:])
            try:
                async with self._client.stream("POST", f"{PATH}/stream", params=params, content=body) as reply:
                    if reply.status_code == 404:  # The server was started anew: nothing is known of the rest.
                        self._ledger.counts["stream forgotten"] += 1
                        break
                    async for line in reply.aiter_lines():
                        token = self._take(line, numbers, known, refused) or token
            except FAILED:
                self._ledger.counts["stream broken"] += 1
            if not token:
                break
            await asyncio.sleep(self._rng.uniform(0.05, 0.5))
        self._ledger.added.update(numbers[at] for at, told in known.items() if told)
        unsure = [numbers[at] for at in range(len(numbers)) if not known.get(at) and at not in refused]
        return await self._seek(unsure) + [numbers[at] for at in refused]

    def _take(self, line: str, numbers: list[int], known: dict[int, bool | None], refused: set[int]) -> str:
        told = json.loads(line) if line.strip() else {}
        if "line" in told:
            known[told["line"]] = told["success"]
            if told["success"] is False and told.get("outcome") != "unknown":
                refused.add(told["line"])
            self._ledger.counts[f"line {told['success']} {told.get('code', '')}".strip()] += 1
        del numbers
        return str(told.get("stream", ""))

    async def _seek(self, numbers: list[int]) -> list[int]:
        """Look for items whose outcome is not known; those that are not there are returned."""
        if not numbers:
            return []
        await asyncio.sleep(3)  # What a dead server had sent is done by now.
        items = await queue_of(self._client)
        found = {number_of(one) for one in items}
        self._ledger.added.update(found.intersection(numbers))
        self._ledger.counts["lines looked for"] += len(numbers)
        return [number for number in numbers if number not in found]


async def queue_of(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """RE Manager's queue, as soon as it can be had."""
    while True:
        try:
            reply = await client.get("/api/queue/get")
            if reply.status_code == 200 and reply.json()["success"]:
                items: list[dict[str, Any]] = reply.json()["items"]
                return items
        except FAILED:
            pass
        await asyncio.sleep(0.3)


class Watcher:
    """Follows the queue by server-sent events as docs/live.md says, and comes back when it is cut off."""

    def __init__(self, client: httpx.AsyncClient, ledger: Ledger, rng: random.Random) -> None:
        self._client, self._ledger, self._rng = client, ledger, rng
        self.queue: list[str] | None = None
        self.counts: Counter[str] = Counter()
        self.wrong: defaultdict[str, list[str]] = defaultdict(list)
        self._last_id = ""
        self._may_get_events = False

    async def run(self, end: asyncio.Event) -> None:
        """Until the end."""
        while not end.is_set():
            headers = {"Last-Event-ID": self._last_id} if self._last_id else {}
            self._may_get_events = False
            asked_at = time.monotonic()
            try:
                async with self._client.stream("GET", "/api/events?topics=queue", headers=headers) as reply:
                    self.counts[f"connected {reply.status_code}"] += 1
                    if reply.status_code != 200:
                        self._ledger.note_failure(asked_at, f"events: {reply.status_code}")
                    async for line in reply.aiter_lines():
                        if line.startswith("data:"):
                            self.take(json.loads(line[5:]))
                        if end.is_set():
                            return
            except FAILED as error:
                self.counts["cut off"] += 1
                self._ledger.note_failure(time.monotonic(), f"events: {type(error).__name__}")
            await asyncio.sleep(self._rng.uniform(0.1, 1))

    def take(self, event: dict[str, Any]) -> None:
        """Apply one event."""
        self.counts[event["type"]] += 1
        self._last_id = event["id"] or self._last_id
        if event["topic"] == "stream":
            if event["type"] == "hello":
                self._may_get_events = bool(event["data"].get("continued"))
            return
        if event["topic"] != "queue":
            return
        self._ledger.note_success("events")
        if event["type"] == "snapshot":
            self._may_get_events = True
            self.queue = [one["item_uid"] for one in event["data"]["items"]]
        elif event["type"].startswith("item_"):
            self._change(event)

    def _change(self, event: dict[str, Any]) -> None:
        data, kind = event["data"], event["type"]
        if not self._may_get_events or self.queue is None:
            self.wrong["an event before a snapshot or a confirmed continuation"].append(event["id"])
            return
        if kind in ("item_removed", "item_started", "item_moved"):
            if data["item_uid"] in self.queue:
                self.queue.remove(data["item_uid"])
            elif kind != "item_started":  # One that was added to an idle queue may start before anybody looked.
                self.wrong[f"{kind} of an item that is not there"].append(event["id"])
        if kind in ("item_added", "item_moved"):
            after = data["after_uid"]
            if after is not None and after not in self.queue:
                self.wrong[f"{kind} behind an item that is not there"].append(event["id"])
                return
            self.queue.insert(0 if after is None else self.queue.index(after) + 1, data["item_uid"])
