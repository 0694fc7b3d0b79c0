"""The rows of adds: single ones go to RE Manager together where it makes no difference to anybody.

RE Manager's refusal is told as it is, with `outcome: unknown` where it does not prove that nothing was added.
"""

from typing import cast

from msgspec import UNSET

from sanic_qserver.api.call import Call
from sanic_qserver.manager.outcomes import told_add, told_batch
from sanic_qserver.structs.requests import QueueItemAdd, QueueItemAddBatch


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
        return told_add(await call.ask(), params.item)
    reply = await call.manager.add(params.item, params.user, params.user_group, fairness_key=call.fairness_key)
    return told_add(reply, params.item)


async def submit_batch(call: Call) -> bytes:
    """Add several items, all of them or none."""
    params = cast("QueueItemAddBatch", call.params)
    return told_batch(await call.ask(), params.items)
