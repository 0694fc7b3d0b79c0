"""Whose items an edit touches: those who hold `write:queue:edit:own` act on their own items only.

RE Manager knows the user of every item and checks nothing. The rules:
1. What an edit addresses is resolved against RE Manager's queue, and by uid only: positions become uids first. An item
   is the caller's when its `user` is what the server stamps on the caller's submissions. The running item counts too:
   it may come back to the queue.
2. Edits of own items go one after the other with every update of an item by anybody through this server and its
   replicas (`shared_state/edit_lock.py`): an update is the only call that gives a queued item (a uid) to somebody
   else. So between check and edit nothing changes hands. What is left: updates straight to RE Manager's socket, in the
   milliseconds between the two calls.
3. A batch that holds one foreign item is refused whole, naming the foreign uids.
4. `queue_clear` asks for the full scope and nothing else.
5. Instructions (`queue_stop`) act on the whole queue, whoever's items are in it: they need `write:queue:control`.
6. A queue that RE Manager cannot read holds everybody's items: the edit is refused.
"""

import functools
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import msgspec
from msgspec import UNSET, Struct, UnsetType, structs

from sanic_qserver.api.call import Call
from sanic_qserver.api.endpoint import Answer, Endpoint, Serve
from sanic_qserver.errors import BadArguments, GatewayError, NotOwner, ScopeMissing
from sanic_qserver.manager.bodies import Body
from sanic_qserver.manager.client.call import sending_while
from sanic_qserver.manager.client.settling import wait_until_nothing_is_under_way
from sanic_qserver.manager.replies import decode_as, refuse_unread
from sanic_qserver.scopes import Scope
from sanic_qserver.structs.requests import (
    Params,
    QueueItemMove,
    QueueItemMoveBatch,
    QueueItemRemove,
    QueueItemRemoveBatch,
    QueueItemUpdate,
)

NO_INSTRUCTIONS = (
    f"Not enough permissions. Instructions act on the whole queue. Requires scopes ['{Scope.WRITE_QUEUE_CONTROL}']"
)


class _Item(Struct, frozen=True):
    item_uid: str = ""
    user: Any = None


class Queue(Struct, frozen=True):
    """What matters of RE Manager's queue: whose items stand where."""

    items: tuple[_Item, ...] = ()
    running_item: _Item = _Item()
    success: bool = False
    msg: str = ""

    def users(self) -> dict[str, Any]:
        """The user of every item, by uid."""
        return {item.item_uid: item.user for item in (self.running_item, *self.items) if item.item_uid}

    def uid_at(self, pos: int | str) -> str | None:
        """The uid at a position as RE Manager counts them: from the front, from the back when negative."""
        try:
            return self.items[{"front": 0, "back": -1}[pos] if isinstance(pos, str) else pos].item_uid
        except (IndexError, KeyError):
            return None

    def count_items(self, user: str) -> int:
        """How many items of a user wait."""
        return sum(item.user == user for item in self.items)


_decode_queue = msgspec.json.Decoder(Queue).decode


async def read_queue(call: Call) -> Queue:
    """RE Manager's queue, now. Raises Overloaded when RE Manager cannot say: an empty list would mean "nobody's"."""
    try:
        queue = decode_as(_decode_queue, await call.manager.request("queue_get", fairness_key=call.fairness_key))
    except msgspec.DecodeError as error:
        raise GatewayError(f"RE Manager's queue cannot be read: {error}") from None
    refuse_unread(queue.success, queue.msg)
    return queue


@asynccontextmanager
async def editing(call: Call) -> AsyncIterator[None]:
    """One edit at a time, of those that depend on what was read before, by whichever replica.

    Raises Overloaded after the time to wait, and when the Redis that replicas share is away.
    """
    config = call.services.config.manager
    async with call.services.queue_edits.hold(config.queue_wait_s) as hold:
        if hold is None:
            yield
            return
        if hold.is_after_loss:
            await wait_until_nothing_is_under_way(call.manager, call.fairness_key)
        with sending_while(hold.may_send) as sending:
            before = sending.unanswered
            try:
                yield
            finally:
                hold.is_clean = sending.unanswered == before


def is_confined(call: Call) -> bool:
    """Whether the caller may act on own items only."""
    return Scope.WRITE_QUEUE_EDIT not in call.access.scopes


def may_instruct(call: Call) -> bool:
    """Whether the caller may add instructions: those who act on own items only need the control of the queue."""
    return not is_confined(call) or Scope.WRITE_QUEUE_CONTROL in call.access.scopes


def is_instruction(item: Any) -> bool:
    """Whether RE Manager takes it for an instruction."""
    return isinstance(item, dict) and item.get("item_type") == "instruction"


def refuse_instructions(call: Call, items: Any) -> None:
    """Raise ScopeMissing for instructions of those who may not add them."""
    if not may_instruct(call) and isinstance(items, list) and any(map(is_instruction, items)):
        raise ScopeMissing(NO_INSTRUCTIONS, extra={"missing_scope": str(Scope.WRITE_QUEUE_CONTROL)})


def owned(row: Endpoint, serve: Serve) -> Serve:
    """The layer OWNED."""
    if row.method in _EDITS:
        return _owned(serve)
    return _without_instructions(serve) if row.method in _GUARDED else serve


def _without_instructions(serve: Serve) -> Serve:
    @functools.wraps(serve)
    async def checked(call: Call) -> bytes | Body | Answer:
        if is_confined(call):
            params: Any = call.params
            refuse_instructions(call, getattr(params, "items", None) or [getattr(params, "item", None)])
        return await serve(call)

    return checked


def _owned(serve: Serve) -> Serve:

    @functools.wraps(serve)
    async def serve_owned(call: Call) -> bytes | Body | Answer:
        if is_confined(call):
            async with editing(call):
                params = _EDITS[call.endpoint.method](call, await read_queue(call))
                return params if isinstance(params, bytes) else await serve(replace(call, params=params))
        if call.endpoint.method == "queue_item_update":
            async with editing(call):
                return await serve(call)
        return await serve(call)

    return serve_owned


def _update(call: Call, queue: Queue) -> Params:
    params = cast("QueueItemUpdate", call.params)
    if params.item is UNSET:
        return params  # RE Manager refuses it.
    uid = params.item.get("item_uid")
    if not isinstance(uid, str):
        raise BadArguments("item.item_uid: must be the uid of an item", extra={"field": "item.item_uid"})
    refuse_instructions(call, [params.item])
    _refuse_foreign(call, queue, [uid])
    return params


def _remove(call: Call, queue: Queue) -> Params | bytes:
    params = cast("QueueItemRemove", call.params)
    uid = _source(params.pos, params.uid, queue, "back")
    if uid is None:
        return _nothing_there("remove", len(queue.items))
    _refuse_foreign(call, queue, [uid])
    return structs.replace(params, uid=uid, pos=UNSET)


def _move(call: Call, queue: Queue) -> Params | bytes:
    params = cast("QueueItemMove", call.params)
    uid = _source(params.pos, params.uid, queue, UNSET)
    if uid is None:
        return _nothing_there("move", len(queue.items))
    _refuse_foreign(call, queue, [uid])
    return structs.replace(params, uid=uid, pos=UNSET)


def _batch(call: Call, queue: Queue) -> Params:
    params = cast("QueueItemRemoveBatch | QueueItemMoveBatch", call.params)
    _refuse_foreign(call, queue, params.uids or ())
    return params


_EDITS: Mapping[str, Callable[[Call, Queue], Params | bytes]] = {
    "queue_item_update": _update,
    "queue_item_remove": _remove,
    "queue_item_move": _move,
    "queue_item_remove_batch": _batch,
    "queue_item_move_batch": _batch,
}


_GUARDED = frozenset({*_EDITS, "queue_item_add", "queue_item_add_batch"})


def _source(pos: Any, uid: str | UnsetType, queue: Queue, default: str | UnsetType) -> str | None:
    """The uid that an edit addresses; None when nothing is there."""
    if uid is not UNSET and pos is not UNSET:
        raise BadArguments("pos, uid: give one of them")
    if not isinstance(uid, UnsetType):
        return uid
    pos = default if pos is UNSET else pos
    if pos is UNSET:
        raise BadArguments("pos, uid: say which item")
    return queue.uid_at(pos)


def _refuse_foreign(call: Call, queue: Queue, uids: Iterable[str]) -> None:
    users = queue.users()
    foreign = [uid for uid in uids if uid in users and users[uid] != call.access.user]
    if foreign:
        raise NotOwner(
            f"Not enough permissions. '{Scope.WRITE_QUEUE_EDIT_OWN}' covers your own items only; "
            f"these belong to others: {', '.join(foreign)}. Requires scopes ['{Scope.WRITE_QUEUE_EDIT}']",
            extra={"foreign_uids": foreign, "missing_scope": str(Scope.WRITE_QUEUE_EDIT)},
        )


def _nothing_there(verb: str, size: int) -> bytes:
    """RE Manager's own kind of refusal: sent, it might find somebody else's item at that position by now."""
    msg = f"Failed to {verb} an item: there is no item at this position"
    return msgspec.json.encode({"success": False, "msg": msg, "qsize": size, "item": {}})
