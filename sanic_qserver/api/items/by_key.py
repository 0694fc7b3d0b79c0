"""The row `/item/by-key/<key>`: an item by the name that its submitter gave it, the `Idempotency-Key` of its add."""

from urllib.parse import unquote

import msgspec
from msgspec import Struct

from sanic_qserver.api.call import Call
from sanic_qserver.api.items.lookup import find_item, show_item
from sanic_qserver.errors import Conflict, NotFound
from sanic_qserver.middleware.idempotency.keys import Kept, State
from sanic_qserver.middleware.idempotency.replay import build_key


class _Item(Struct):
    item_uid: str = ""


class _Proposal(Struct):
    item_ids: list[str] = []


class _Answer(Struct):
    """What is looked at in the answer to an add, or in the summary of one that is not kept."""

    success: bool | None = None
    msg: str = ""
    item: _Item | None = None
    items: list[_Item] = []
    item_uids: list[str] = []
    proposal: _Proposal | None = None


async def item_by_key(call: Call) -> bytes:
    """The state of the item that was added with a key of the caller's own; the first one of a batch.

    404 when nothing was added with it, 409 while the add runs or when nobody knows what became of it.
    """
    name = unquote(call.path_args["key"])
    kept = await call.services.claims.read(build_key(name, call))
    if kept is None:
        raise NotFound("Nothing was added with this Idempotency-Key")
    if kept.state is State.RUNNING:
        raise Conflict("The add with this Idempotency-Key is still running", headers={"Retry-After": "2"})
    uids = _read_uids(kept)
    if kept.state is State.UNKNOWN:
        return await _find_any(call, uids)
    if not uids:
        raise NotFound(f"Nothing was added with this Idempotency-Key: {_decode(kept).msg}".rstrip(": "))
    return await show_item(call, uids[0], item_uids=uids)


async def _find_any(call: Call, uids: list[str]) -> bytes:
    """The first of the items that may have been added. Raises Conflict when none of them is there."""
    for uid in uids:
        try:
            await find_item(call, uid)
        except NotFound:
            continue
        return await show_item(call, uid, item_uids=uids)
    raise Conflict(
        "Nobody knows what became of the add with this Idempotency-Key: send it again, with the same key",
        headers={"Retry-After": "2"},
        extra={"outcome": "unknown"},
    )


def _read_uids(kept: Kept) -> list[str]:
    if kept.uids:
        return list(kept.uids)
    answer = _decode(kept)
    if answer.success is False:
        return []
    if answer.proposal is not None:
        return answer.proposal.item_ids
    return answer.item_uids or [one.item_uid for one in (answer.item, *answer.items) if one is not None]


def _decode(kept: Kept) -> _Answer:
    try:
        return msgspec.json.decode(kept.body, type=_Answer)
    except msgspec.MsgspecError:
        return _Answer()
