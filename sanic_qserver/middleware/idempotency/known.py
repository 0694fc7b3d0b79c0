"""What is known of a call whose outcome is unknown: the queue and the history are looked at.

RE Manager is asked only what cannot mislead, and only after whatever a worker that is gone had sent has been done. A
queue that it cannot read proves nothing.
"""

from typing import Any

import msgspec

from sanic_qserver.api.call import Call
from sanic_qserver.api.endpoint import Answer
from sanic_qserver.api.items.meta import read_metas, read_stamp
from sanic_qserver.errors import Conflict, GatewayError
from sanic_qserver.manager.client.settling import find_items
from sanic_qserver.middleware.idempotency.keys import Kept

_CHANGED = ("user", "user_group", "item_uid", "meta")
_ABSENT = "It is not in the queue or the history: it was not added, unless it was removed since"
_SINGLE = ("queue_item_add", "queue_item_execute")
_SOON = {"Retry-After": "2"}
_LATER = {"Retry-After": "10"}


async def settle(call: Call, kept: Kept) -> Answer:
    """The answer that the first call would have got, where it can be told. Else raises Conflict with what is known."""
    text = f"The outcome of the first call with this Idempotency-Key is unknown ({kept.body.decode()}). "
    item = getattr(call.params, "item", None)
    if call.endpoint.method not in _SINGLE or not isinstance(item, dict):
        raise _conflict(text + "Look at the state before trying again, with a new key", "unknown", _LATER)
    items = await _items(call)
    if items is None:
        raise _conflict(text + "RE Manager cannot tell now what is in its queue: ask again", "unknown", _SOON)
    if kept.uids or call.services.config.items.stamp:
        found = [one for one in items if one.get("item_uid") in kept.uids or _is_stamped(one, call)]
        if found:
            return Answer(msgspec.json.encode({"success": True, "msg": "", "qsize": None, "item": found[0]}))
        raise _conflict(text + _ABSENT, "not_found", _LATER, equal_item_uids=[])
    uids = [one["item_uid"] for one in items if "item_uid" in one and _is_equal(one, item, call.access.user)]
    if uids:
        text += "An equal item of yours is in the queue or the history; whether it is this one cannot be told"
        raise _conflict(text, "unknown", _LATER, equal_item_uids=uids)
    if call.services.hooks.before:  # They may have made another item of it.
        raise _conflict(text + "No equal item of yours is there", "unknown", _LATER, equal_item_uids=[])
    raise _conflict(text + _ABSENT, "not_found", _LATER, equal_item_uids=[])


async def _items(call: Call) -> list[dict[str, Any]] | None:
    """The items of history and queue. None when RE Manager cannot tell."""
    try:
        return await find_items(call.manager, call.fairness_key)
    except GatewayError:
        return None


def _is_stamped(other: dict[str, Any], call: Call) -> bool:
    """Whether the server put this key into the item (`[items] stamp`): nobody else can."""
    stamp, principal = read_stamp(other), call.access.principal
    said = (stamp.get("submission"), stamp.get("principal"), stamp.get("provider"))
    return said == (call.headers.get("idempotency-key"), principal.name, principal.provider)


def _is_equal(other: dict[str, Any], item: dict[str, Any], user: str) -> bool:
    """Whether this item may have become the other one: RE Manager names it, policies add to its `meta`."""
    wanted = {**{name: value for name, value in item.items() if name not in _CHANGED}, "user": user}
    return all(other.get(name) == value for name, value in wanted.items()) and all(
        one in read_metas(other) for one in read_metas(item)
    )


def _conflict(text: str, outcome: str, headers: dict[str, str], **more: Any) -> Conflict:
    return Conflict(text, headers=headers, extra={"state": "unknown", "outcome": outcome, **more})
