"""The rows `/item/<uid>` and `/items`: what became of items, in one call each."""

from itertools import islice
from typing import cast

import msgspec
from msgspec import UNSET

from sanic_qserver.api.call import Call
from sanic_qserver.api.items.state import FINISHED, STATES, ItemState, look, look_again
from sanic_qserver.api.proposals.rows import find_proposed, may_decide
from sanic_qserver.errors import BadArguments, NotFound, ScopeMissing
from sanic_qserver.scopes import Scope
from sanic_qserver.structs.requests import ItemsGet

_PAGE = 1000


async def item_state(call: Call) -> bytes:
    """Where an item is, and the runs it made. 404 when it is nowhere.

    An item of a proposal has an id before RE Manager gives it a uid: `<proposal>:<number>`. It leads to the item ever
    after.
    """
    return await show_item(call, call.path_args["uid"])


async def show_item(call: Call, uid: str, **more: object) -> bytes:
    """The reply that tells of one item, with `more` members. Raises NotFound."""
    state = await (_find_proposed_item(call, uid) if ":" in uid else find_item(call, uid))
    told = {"success": True, "msg": "", **msgspec.structs.asdict(state), **more}
    return msgspec.json.encode(told)


async def _find_proposed_item(call: Call, uid: str) -> ItemState:
    proposal, number = await find_proposed(call, uid)
    if proposal.state == "queued" and number < len(proposal.item_uids):
        return await find_item(call, proposal.item_uids[number])
    if proposal.state in ("open", "approving"):
        return ItemState(item_uid=uid, state="proposed", item=proposal.items[number])
    raise NotFound(
        f"The item '{uid}' was not queued: its proposal is {proposal.state}", extra={"state": proposal.state}
    )


async def find_item(call: Call, uid: str) -> ItemState:
    """The state of an item. Raises NotFound."""
    found = (await look(call)).find(uid) or (await look_again(call)).find(uid)
    if found is None:
        raise NotFound(f"There is no item with uid '{uid}': not in the queue, not in the history")
    return found


async def items(call: Call) -> bytes:
    """The items of a user (`me` by default) in the states asked for; everybody's with `user=*`."""
    params = cast("ItemsGet", call.params)
    states = read_states(params.state)
    user = _choose_user(call, params.user, states)
    offset = 0 if params.offset is UNSET else params.offset
    limit = _PAGE if params.limit is UNSET else params.limit
    found = [*(await _list_proposed(call, params.user) if "proposed" in states else ())]
    found += (await look(call)).list_all(user, states)
    page = list(islice(found, offset, offset + limit))
    return msgspec.json.encode({"success": True, "msg": "", "items": page, "total": len(found), "offset": offset})


def read_states(texts: "tuple[str, ...] | msgspec.UnsetType") -> frozenset[str]:
    """The states named, by comma or repeated; all of them when none is. Raises BadArguments."""
    if isinstance(texts, msgspec.UnsetType):
        return frozenset(STATES)
    names = [name for text in texts for name in text.split(",") if name]
    if unknown := [name for name in names if name not in STATES]:
        raise BadArguments(f"state: '{unknown[0]}' is none of {', '.join(STATES)}", extra={"field": "state"})
    return frozenset(names)


async def _list_proposed(call: Call, user: "str | msgspec.UnsetType") -> list[ItemState]:
    """The items of the caller's open proposals; for `*`, of all that the caller decides on."""
    if not call.services.proposals.is_open:
        return []
    is_mine = user is UNSET or user in ("me", call.access.user)
    if not is_mine and not (user == "*" and may_decide(call)):
        return []
    owner = (call.access.principal.provider, call.access.principal.name) if is_mine else None
    found, _ = await (await call.services.proposals.store()).list(owner, "open", 0, _PAGE)
    return [
        ItemState(item_uid=key, state="proposed", item=item)
        for proposal in found
        for key, item in zip(proposal.item_ids, proposal.items, strict=True)
    ]


def _choose_user(call: Call, user: "str | msgspec.UnsetType", states: frozenset[str]) -> str | None:
    """Whose items: others' need the scopes of the lists that they stand in."""
    if user is UNSET or user in ("me", call.access.user):
        return call.access.user
    needed = [Scope.READ_QUEUE] if states & {"queued", "running"} else []
    needed += [] if states.isdisjoint(FINISHED) else [Scope.READ_HISTORY]
    if missing := [scope for scope in needed if not call.access.holds(scope)]:
        raise ScopeMissing(
            f"Not enough permissions. The items of others in these states require scopes ['{missing[0]}']",
            extra={"missing_scope": str(missing[0])},
        )
    return None if user == "*" else str(user)
