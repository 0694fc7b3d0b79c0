"""Long lists, whole or in parts: the queue and the history by page and field, and one item by uid.

Parts are cut from the kept reply: RE Manager is asked for the whole list once for each change of it.
"""

import json
from typing import Any, cast

import msgspec
from msgspec import UNSET, Raw, Struct

from sanic_qserver.api.call import Call
from sanic_qserver.errors import NotFound
from sanic_qserver.manager.bodies import Body
from sanic_qserver.manager.replies import decode_as, refuse_unread
from sanic_qserver.structs.requests import HistoryGet, QueueGet

_decode_head = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_items = msgspec.json.Decoder(list[Raw]).decode


class _Result(Struct):
    time_stop: float = 0.0


class _Known(Struct):
    """What is looked at in an item."""

    item_uid: str = ""
    result: _Result | None = None


_decode_known = msgspec.json.Decoder(_Known).decode


async def listed(call: Call) -> Body:
    """The queue or the history; with `offset`, `limit`, `since` or `fields` a part of it, and the `total` count."""
    params = cast("QueueGet | HistoryGet", call.params)
    body = await call.services.reads.read(call.endpoint.method, fairness_key=call.fairness_key)
    since = params.since if isinstance(params, HistoryGet) else UNSET
    if params.offset is UNSET and params.limit is UNSET and params.fields is UNSET and since is UNSET:
        return body
    head, items = body.made("items", lambda: split_items(body.json))
    if "items" not in head:  # Refused: there is nothing to cut.
        return body
    if since is not UNSET:
        items = _since(items, since)
    offset = 0 if params.offset is UNSET else params.offset
    part = items[offset:] if params.limit is UNSET else items[offset : offset + params.limit]
    if params.fields is not UNSET:
        names = [name for text in params.fields for name in text.split(",") if name]
        part = [_only(item, names) for item in part]
    reply = {**head, "items": part, "total": len(items), "offset": offset}
    return Body(msgspec.json.encode(reply), body.uid, (call.endpoint.method, msgspec.json.encode(params)))


async def queue_item(call: Call) -> Body:
    """One item of the queue, or the running one, by the uid in the path."""
    uid = call.path_args["uid"]
    body = await call.services.reads.read("queue_get", fairness_key=call.fairness_key)
    head, items = body.made("items", lambda: split_items(body.json))
    refuse_unread_items(head)
    positions = body.made("positions", lambda: {_known(item).item_uid: at for at, item in enumerate(items)})
    position = positions.get(uid)
    running = head.get("running_item", Raw(b"{}"))
    is_running = position is None and _known(running).item_uid == uid
    if position is None and not is_running:
        raise NotFound(f"There is no item with uid '{uid}' in the queue")
    item = running if position is None else items[position]
    reply = {"success": True, "msg": "", "item": item, "position": position, "is_running": is_running}
    return Body(msgspec.json.encode(reply), body.uid, ("queue_item", uid.encode()))


def split_items(reply: bytes) -> tuple[dict[str, Raw], list[Raw]]:
    """The members of a reply, and its items, undecoded."""
    try:
        head = _decode_head(reply)
    except msgspec.DecodeError:  # NaN, which RE Manager's encoder may write.
        head = {name: Raw(json.dumps(value).encode()) for name, value in json.loads(reply).items()}
        items = [Raw(json.dumps(item).encode()) for item in json.loads(reply).get("items", ())]
        return head, items
    return head, _decode_items(head["items"]) if "items" in head else []


def refuse_unread_items(head: dict[str, Raw]) -> None:
    """Raise Overloaded for the head of a list that RE Manager could not read: what is not in it may be there."""
    refuse_unread(bytes(head.get("success", b"true")) == b"true", str(msgspec.json.decode(head.get("msg", b'""'))))


def _since(items: list[Raw], since: float | str) -> list[Raw]:
    """The items that ended after a POSIX time, or those that follow the item with a uid."""
    try:
        time_s = float(since)
    except ValueError:
        for at, item in enumerate(items):
            if _known(item).item_uid == since:
                return items[at + 1 :]
        raise NotFound(f"since: there is no item with uid '{since}' in the history") from None
    return [item for item in items if (result := _known(item).result) is not None and result.time_stop > time_s]


def _known(item: Raw) -> _Known:
    try:
        return decode_as(_decode_known, item)
    except msgspec.ValidationError:
        return _Known()


def _only(item: Raw, names: list[str]) -> Any:
    try:
        values = decode_as(_decode_head, item)
    except msgspec.ValidationError:
        return item
    return {name: values[name] for name in names if name in values}
