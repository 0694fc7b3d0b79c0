"""The rows `/queue/item/validate` and `…/batch`: would these items be accepted? Nothing is added, nothing counted.

A verdict is RE Manager's own, in its words, after what this server would say first: hooks of custom modules (which
see `is_validation`), the rule for callers who may edit own items only, and quotas.
"""

from collections.abc import Sequence
from typing import Any, cast

import msgspec

from sanic_qserver.api.call import Call
from sanic_qserver.api.items.meta import stamp_items
from sanic_qserver.api.items.verdicts import Submitter
from sanic_qserver.errors import GatewayError
from sanic_qserver.middleware.hooks import Refused, Submission
from sanic_qserver.middleware.metadata import build_metadata
from sanic_qserver.middleware.ownership import NO_INSTRUCTIONS, is_instruction, may_instruct
from sanic_qserver.middleware.quotas import check_quota
from sanic_qserver.structs.requests import QueueItemValidate, QueueItemValidateBatch


async def validate_item(call: Call) -> bytes:
    """The verdict on one item: `valid`, `msg`, and the item as it would be submitted."""
    params = cast("QueueItemValidate", call.params)
    found = await judge_items(call, [params.item], "queue_item_add", params.lock_key)
    if found["success"]:
        (verdict,) = found["results"]
        if not found["valid"] and verdict["valid"]:  # A quota speaks of the whole; here that is the item.
            verdict = {**verdict, "valid": False, "msg": found["msg"]}
        found = {"success": True, **verdict}
    else:
        found = {"success": False, "valid": False, "msg": found["msg"], "item": params.item}
    return msgspec.json.encode(found)


async def validate_batch(call: Call) -> bytes:
    """The verdict on each item; `valid` says whether the batch would be added, `msg` why it would not."""
    params = cast("QueueItemValidateBatch", call.params)
    return msgspec.json.encode(await judge_items(call, params.items, "queue_item_add_batch", params.lock_key))


async def judge_items(call: Call, items: Sequence[Any], method: str, lock_key: Any = msgspec.UNSET) -> dict[str, Any]:
    """`success` (RE Manager judged), `valid`, `msg`, and `results`: `valid`, `msg` and `item` of each item."""
    prepared, texts = await _prepare(call, items, method)
    open_ = [number for number in range(len(items)) if number not in texts]
    submitter = Submitter(call.access.user, call.access.user_group, call.fairness_key, lock_key)
    verdicts = await call.services.validation.judge([prepared[number] for number in open_], submitter)
    if verdicts.refusal:
        return {"success": False, "valid": False, "msg": verdicts.refusal, "results": []}
    texts |= {number: text for number, text in zip(open_, verdicts.texts, strict=True) if text}
    results = [
        {"valid": number not in texts, "msg": texts.get(number, ""), "item": item}
        for number, item in enumerate(prepared)
    ]
    msg = f"{len(texts)} of {len(items)} items are not valid" if texts else await _ask_quota(call, len(items))
    return {"success": True, "valid": not msg, "msg": msg, "results": results}


async def _prepare(call: Call, items: Sequence[Any], method: str) -> tuple[Sequence[Any], dict[int, str]]:
    """The items as they would be submitted, and the texts of those that this server refuses."""
    if not all(isinstance(item, dict) for item in items):  # RE Manager says what is no item.
        return items, {}
    if not may_instruct(call) and any(map(is_instruction, items)):
        return items, {number: NO_INSTRUCTIONS for number, item in enumerate(items) if is_instruction(item)}
    submission = Submission(method, call.access, call.request_id, len(items), is_validation=True)
    prepared = await call.services.hooks.prepare(list(items), submission)
    if isinstance(prepared, Refused):
        return items, {number: f"Refused: {text}" for number, text in prepared.texts.items()}
    first = build_metadata(call)
    return stamp_items(prepared, first) if first else prepared, {}


async def _ask_quota(call: Call, count: int) -> str:
    """What the quota says to so many more items, or nothing."""
    try:
        await check_quota(call, count)
    except GatewayError as error:
        return error.detail
    return ""
