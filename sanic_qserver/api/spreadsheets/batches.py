"""Many items to RE Manager, in batches that leave it time for others, all of them or none.

When a later batch is refused, those before it are removed again. What cannot be proved is told: `is_unknown` after a
failure that may have left a part in the queue (`manager/outcomes.py`). Nothing is sent twice.
"""

from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from sanic_qserver.api.call import Call
from sanic_qserver.errors import GatewayError
from sanic_qserver.manager.outcomes import Verdict, judge, read_batch
from sanic_qserver.manager.replies import decode_reply
from sanic_qserver.middleware.ownership import read_queue
from sanic_qserver.structs.requests import QueueItemAddBatch, QueueItemRemoveBatch, QueueUploadSpreadsheet

Item = dict[str, Any]

_SMALLER = 5


class Removal(Struct, frozen=True):
    """What became of items that were to be removed again: how many are still there, were taken; is all of it known."""

    left: int = 0
    taken: int = 0
    is_known: bool = True

    @property
    def text(self) -> str:
        """For people; empty when all were removed."""
        said = [f"{self.taken} plans before it were taken by the running queue"] if self.taken else []
        said += [f"{self.left} plans before it could not be removed"] if self.left else []
        said += [] if self.is_known else ["whether the plans before it were removed is unknown"]
        return f" ({'; '.join(said)})" if said else ""


@dataclass
class Outcome:
    """RE Manager's answers to all batches, as one."""

    success: bool = True
    msg: str = ""
    qsize: int | None = None
    items: list[Item] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)
    is_unknown: bool = False


class Batches:
    """Adds items for one call, at the place in the queue that its params name."""

    def __init__(self, call: Call, params: QueueUploadSpreadsheet, file_name: str) -> None:
        self._call = call
        self._file_name = file_name
        self._params = params
        self._size = call.services.config.spreadsheets.batch_size

    async def add(self, items: list[Item]) -> Outcome:
        """Add all, or none.

        Raises what the RE Manager client raises, after taking back what had been added; unless that cannot be proved.
        """
        # What fits in one batch is all or nothing by RE Manager itself. What does not may as well come in small ones:
        # others wait for one batch at most, and RE Manager is no faster with large ones.
        size = self._size if len(items) <= self._size else max(1, self._size // _SMALLER)
        outcome = Outcome()
        try:
            for start in range(0, len(items), size):
                part = items[start : start + size]
                await self._call.check_again()
                encoded = await self._add_batch(part, outcome.items)
                reply = decode_reply(encoded)
                verdict = judge(read_batch(encoded), len(part))
                if verdict is not Verdict.ADDED:
                    return await self._taken_back(outcome, reply, items, start, verdict)
                outcome.items += reply["items"]
                outcome.results += reply["results"]
                outcome.qsize = reply.get("qsize")
                self._tell_progress(len(outcome.items), len(items))
        except GatewayError as error:
            removal = await self._remove(outcome.items)
            if not removal.text:
                raise
            # It must not look like a call that was not made: that would be made again.
            return Outcome(success=False, msg=error.detail + removal.text, items=items, is_unknown=True)
        return outcome

    async def _add_batch(self, items: list[Item], before: list[Item]) -> bytes:
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
        return await self._call.ask(params, "queue_item_add_batch")

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

    async def _taken_back(
        self, added: Outcome, reply: dict[str, Any], items: list[Item], start: int, verdict: Verdict
    ) -> Outcome:
        """Nothing is left in the queue; the results say of every item whether it was the reason."""
        is_unknown = verdict is Verdict.UNKNOWN
        if is_unknown:
            self._call.services.reads.distrust("queue_get")
        # A batch that failed half-way names the uids that it gave its items: some may be in the queue.
        perhaps = [item for item in reply.get("items") or () if isinstance(item, dict)] if is_unknown else []
        removal = await self._remove(added.items)
        if perhaps:
            await self._remove([item for item in perhaps if isinstance(item.get("item_uid"), str)])
        refused = reply.get("results") or []
        results = [
            {"success": True, "msg": ""} if not start <= number < start + len(refused) else refused[number - start]
            for number in range(len(items))
        ]
        return Outcome(
            success=False,
            msg=str(reply["msg"]) + removal.text,
            items=items,
            results=results if refused else [],
            is_unknown=is_unknown or bool(removal.left) or not removal.is_known,
        )

    async def _remove(self, items: list[Item]) -> Removal:
        """Remove items again. RE Manager skips what it cannot remove without a word: what it does not name is sought.

        Raises nothing: what is not known is said.
        """
        if not items:
            return Removal()
        uids = [item["item_uid"] for item in items]
        params = QueueItemRemoveBatch(uids=uids, ignore_missing=True, lock_key=self._params.lock_key)
        try:
            reply = decode_reply(await self._call.ask(params, "queue_item_remove_batch"))
            removed = {item.get("item_uid") for item in reply.get("items") or ()}
            rest = [uid for uid in uids if uid not in removed]
            if not rest:
                return Removal()
            there = (await read_queue(self._call)).users()
        except GatewayError:
            return Removal(is_known=False)
        left = sum(uid in there for uid in rest)
        return Removal(left=left, taken=len(rest) - left)
