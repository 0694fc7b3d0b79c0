"""Watchers of events that rebuild the queue, and may go on at another replica."""

import asyncio
import json

from servers import KEY
from watching import Events

HEADERS = {"Authorization": f"ApiKey {KEY}"}


class Rebuilt:
    """The queue, from its snapshot and the events after it."""

    def __init__(self):
        self.uids = []
        self.running = ""
        self.snapshots = 0
        self.gaps = 0
        self.ids = []

    def see(self, event):
        kind, data = event["type"], event["data"]
        self.gaps += kind == "gap"
        if event["topic"] != "queue":
            return
        if kind == "snapshot":
            self.snapshots += 1
            self.uids = [item["item_uid"] for item in data["items"]]
            self.running = data["running_item"].get("item_uid", "")
            return
        self.ids.append(event["id"])
        uid = data.get("item_uid")
        if kind in ("item_removed", "item_started", "item_moved"):
            self.uids = [one for one in self.uids if one != uid]
        if kind in ("item_added", "item_moved"):
            assert uid not in self.uids
            self.uids.insert(self.uids.index(data["after_uid"]) + 1 if data["after_uid"] else 0, uid)
        self.running = uid if kind == "item_started" else "" if kind == "item_finished" else self.running


class Reader:
    """Reads events of one replica, and can go on at another one."""

    def __init__(self, topics="queue", headers=HEADERS):
        self.topics = topics
        self.headers = headers
        self.last_id = ""
        self.events = []
        self.rebuilt = Rebuilt()

    async def come(self, port):
        last = {"Last-Event-ID": self.last_id} if self.last_id else {}
        self.stream = await Events.connect(port, f"/api/events?topics={self.topics}", {**self.headers, **last})
        assert self.stream.status == 200, self.stream.head
        return self

    async def read(self, timeout_s=15):
        event = json.loads((await self.stream.next(timeout_s))["data"])
        self.last_id = event["id"] or self.last_id
        self.events.append(event)
        self.rebuilt.see(event)
        return event

    async def until(self, is_so, timeout_s=20):
        try:
            async with asyncio.timeout(timeout_s):
                while not is_so(self.events[-1] if self.events else {}):
                    await self.read(timeout_s)
        except TimeoutError:
            raise AssertionError(f"it never came; the last: {self.events[-30:]}") from None
        return self.events[-1]

    async def until_type(self, kind, timeout_s=20):
        return await self.until(lambda event: event.get("type") == kind, timeout_s)

    async def until_holds(self, uids, timeout_s=20):
        await self.until(lambda _: self.rebuilt.snapshots and self.rebuilt.uids == uids, timeout_s)

    async def leave(self):
        await self.stream.leave()
