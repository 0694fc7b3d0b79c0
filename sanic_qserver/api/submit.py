"""The row of single adds: where it makes no difference to anybody, they go to RE Manager together."""

from typing import cast

from msgspec import UNSET

from sanic_qserver.api.endpoint import Call
from sanic_qserver.structs.requests import QueueItemAdd


async def submit(call: Call) -> bytes:
    """Add one item. A position or a lock key make it a call of its own."""
    params = cast("QueueItemAdd", call.params)
    is_plain = (
        params.pos in (UNSET, "back")
        and params.before_uid is UNSET
        and params.after_uid is UNSET
        and params.lock_key is UNSET
        and not call.unknown
    )
    if not is_plain:
        return await call.ask()
    return await call.manager.add(params.item, params.user, params.user_group, lane=call.lane)
