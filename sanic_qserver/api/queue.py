"""The rows that change the queue and need more than `forward`.

Single adds are batched where nobody can tell the difference. RE Manager's refusal is passed on, with
`outcome: unknown` where it does not prove that nothing was added.
"""

from collections.abc import Callable
from typing import Any, cast

import msgspec
from msgspec import UNSET

from sanic_qserver.api.call import Call
from sanic_qserver.manager.outcomes import told_add, told_batch
from sanic_qserver.structs.requests import QueueItemAdd, QueueItemAddBatch, QueueModeSet


async def queue_mode_set(call: Call) -> bytes:
    """Set the mode; `loop` and `ignore_failures` may stand at the top level, as in the reference server."""
    params = cast("QueueModeSet", call.params)
    given = {"loop": params.loop, "ignore_failures": params.ignore_failures}
    at_top = {name: value for name, value in given.items() if value is not UNSET}
    mode = at_top if params.mode is UNSET else params.mode  # `mode` wins, as there.
    params = msgspec.structs.replace(params, mode=mode, loop=UNSET, ignore_failures=UNSET)
    return await call.ask(params)


async def submit(call: Call) -> bytes:
    """Add one item. A position or a lock key make it a call of its own."""
    params = cast("QueueItemAdd", call.params)
    is_plain = (
        params.pos in (UNSET, "back")
        and params.before_uid is UNSET
        and params.after_uid is UNSET
        and params.lock_key is UNSET
        and params.item is not UNSET
        and not call.unknown
    )
    if not is_plain:
        return _tell(call, told_add, await call.ask(), params.item)
    reply = await call.manager.add(params.item, params.user, params.user_group, fairness_key=call.fairness_key)
    return _tell(call, told_add, reply, params.item)


async def submit_batch(call: Call) -> bytes:
    """Add several items, all of them or none."""
    params = cast("QueueItemAddBatch", call.params)
    return _tell(call, told_batch, await call.ask(), params.items)


def _tell(call: Call, tell: Callable[[bytes, Any], bytes], reply: bytes, sent: Any) -> bytes:
    told = tell(reply, sent)
    if told is not reply:  # Its outcome is unknown.
        call.services.reads.distrust("queue_get")
    return told
