"""Many items to RE Manager, in batches that leave it time for others, all of them or none."""

from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import UNSET

from sanic_qserver.api.endpoint import Call
from sanic_qserver.errors import GatewayError
from sanic_qserver.structs.requests import QueueItemAddBatch, QueueItemRemoveBatch, QueueUploadSpreadsheet

Item = dict[str, Any]

_SMALLER = 5


@dataclass
class Outcome:
    """RE Manager's answers to all batches, as one."""

    success: bool = True
    msg: str = ""
    qsize: int | None = None
    items: list[Item] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)


class Batches:
    """Adds items for one call, at the place in the queue that its params name."""

    def __init__(self, call: Call, params: QueueUploadSpreadsheet, file_name: str) -> None:
        self._call = call
        self._file_name = file_name
        self._params = params
        self._size = call.services.config.spreadsheets.batch_size

    async def add(self, items: list[Item]) -> Outcome:
        """Add all, or none. Raises what the RE Manager client raises, after taking back what had been added."""
        # What fits in one batch is all or nothing by RE Manager itself. What does not may as well come in small ones:
        # others wait for one batch at most, and RE Manager is no faster with large ones.
        size = self._size if len(items) <= self._size else max(1, self._size // _SMALLER)
        outcome = Outcome()
        try:
            for start in range(0, len(items), size):
                reply = await self._add_batch(items[start : start + size], outcome.items)
                if not reply["success"]:
                    return await self._taken_back(outcome, reply, items, start)
                outcome.items += reply["items"]
                outcome.results += reply["results"]
                outcome.qsize = reply.get("qsize")
                self._tell_progress(len(outcome.items), len(items))
        except GatewayError:
            await self._remove(outcome.items)
            raise
        return outcome

    async def _add_batch(self, items: list[Item], before: list[Item]) -> dict[str, Any]:
        params = QueueItemAddBatch(
            items=items,
            user=self._call.access.user,
            user_group=self._call.access.user_group,
            lock_key=self._params.lock_key,
            pos=self._params.pos,
            before_uid=self._params.before_uid,
            after_uid=self._params.after_uid,
        )
        is_placed = any(value is not UNSET for value in (params.pos, params.before_uid, params.after_uid))
        if before and is_placed:
            # Behind the batch before it. At the back of the queue this needs no saying, and would fail when
            # a running queue has taken that item.
            uid = before[-1]["item_uid"]
            params = msgspec.structs.replace(params, pos=UNSET, before_uid=UNSET, after_uid=uid)
        reply: dict[str, Any] = msgspec.json.decode(await self._call.ask(params, "queue_item_add_batch"))
        return reply

    def _tell_progress(self, added: int, total: int) -> None:
        """Tell the watchers of `/api/events` how far it is."""
        data = {
            "file": self._file_name,
            "user": self._call.access.user,
            "added": added,
            "total": total,
            "request_id": self._call.request_id,
        }
        self._call.services.live.events.publish("queue", "upload", data)

    async def _taken_back(self, added: Outcome, reply: dict[str, Any], items: list[Item], start: int) -> Outcome:
        """Nothing is left in the queue; the results say of every item whether it was the reason."""
        kept = await self._remove(added.items)
        refused = reply.get("results") or []
        results = [
            {"success": True, "msg": ""} if not start <= number < start + len(refused) else refused[number - start]
            for number in range(len(items))
        ]
        msg = str(reply["msg"])
        if kept:
            msg += f" ({kept} plans before it were taken by the running queue or could not be removed)"
        return Outcome(success=False, msg=msg, qsize=None, items=items, results=results if refused else [])

    async def _remove(self, items: list[Item]) -> int:
        """Remove items again. Returns how many are not there any more, or could not be removed."""
        if not items:
            return 0
        uids = [item["item_uid"] for item in items]
        params = QueueItemRemoveBatch(uids=uids, ignore_missing=True, lock_key=self._params.lock_key)
        try:
            reply = msgspec.json.decode(await self._call.ask(params, "queue_item_remove_batch"))
        except GatewayError:
            return len(uids)
        return len(uids) - len(reply.get("items") or [])
