"""RE Manager's own verdict on items, with nothing added.

RE Manager 0.0.25 validates every item of `queue_item_add_batch` and adds none of them when one is invalid
(`_queue_item_add_batch_handler`: the queue is touched only after `validate_item_batch` found all of them valid). So
items are sent together with one more that can never be valid, and its verdict is dropped.

Should a later RE Manager ever accept such a batch, what it added is removed at once, the caller gets 502, and
validation stays off until this server restarts: a question must never become a submission.

Items go in pieces: other calls, reads above all, take their turn between two of them.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from sanic_qserver.errors import GatewayError, ValidationBroken
from sanic_qserver.manager.client.client import ManagerClient
from sanic_qserver.manager.replies import decode_reply
from sanic_qserver.structs.requests import Params, QueueItemAddBatch, QueueItemRemoveBatch

log = logging.getLogger("sanic_qserver.items")

PIECE = 25  # Items a call: RE Manager takes some 0.7 ms for each, and others wait for one piece at most.
NEVER_VALID = {"item_type": "none: sanic_qserver asks for verdicts, nothing may be added"}


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What RE Manager says of each item: "" for a valid one. `refusal` when it would not judge at all (a lock)."""

    texts: tuple[str, ...] = ()
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Submitter:
    """Whose items are judged: what RE Manager is told, the key of a locked queue, and the fairness key."""

    user: str
    user_group: str
    fairness_key: str
    lock_key: str | msgspec.UnsetType = msgspec.UNSET


class Validation:
    """Asks for verdicts. One an application: it remembers when RE Manager did not keep to the rule."""

    def __init__(self, manager: ManagerClient) -> None:
        self._manager = manager
        self._broken = ""

    async def judge(self, items: Sequence[Any], submitter: Submitter) -> Verdicts:
        """The verdicts on items as this submitter would hand them in.

        Raises ValidationBroken (502) when RE Manager added something, and what the RE Manager client raises.
        """
        texts: list[str] = []
        for start in range(0, len(items), PIECE):
            piece = items[start : start + PIECE]
            reply = await self._ask(piece, submitter)
            results = reply.get("results") or []
            if len(results) != len(piece) + 1:
                return Verdicts(refusal=str(reply.get("msg", "")))
            texts += ["" if result["success"] else str(result["msg"]) for result in results[:-1]]
        return Verdicts(tuple(texts))

    async def _ask(self, piece: Sequence[Any], submitter: Submitter) -> dict[str, Any]:
        if self._broken:
            raise ValidationBroken(self._broken)
        params = QueueItemAddBatch(
            items=[*piece, NEVER_VALID],
            user=submitter.user,
            user_group=submitter.user_group,
            lock_key=submitter.lock_key,
        )
        reply = await self._request("queue_item_add_batch", params, submitter)
        if reply.get("success"):
            await self._take_back(reply, submitter)
        return reply

    async def _take_back(self, reply: dict[str, Any], submitter: Submitter) -> None:
        self._broken = (
            "RE Manager accepted an item that can never be valid. Validation is switched off until this server "
            "restarts: it would add what it should only judge"
        )
        uids = [item["item_uid"] for item in reply.get("items") or () if isinstance(item, dict) and "item_uid" in item]
        log.critical("%s. Removing what was added: %s", self._broken, ", ".join(uids))
        params = QueueItemRemoveBatch(uids=uids, ignore_missing=True, lock_key=submitter.lock_key)
        try:
            removed = await self._request("queue_item_remove_batch", params, submitter)
            if len(removed.get("items") or ()) != len(uids):
                log.critical("Not all of them could be removed: %s", removed.get("msg"))
        except GatewayError as error:
            log.critical("They could not be removed: %s", error.detail)
        raise ValidationBroken(self._broken)

    async def _request(self, method: str, params: Params, submitter: Submitter) -> dict[str, Any]:
        return decode_reply(await self._manager.request(method, params, fairness_key=submitter.fairness_key))
