"""The status, at once or when it is what the caller waits for."""

from time import monotonic
from typing import Any, cast

import msgspec

from sanic_qserver.api.call import Call
from sanic_qserver.api.items.lookup import find_item
from sanic_qserver.api.runs import status
from sanic_qserver.errors import ScopeMissing
from sanic_qserver.manager.live.conditions import ITEM
from sanic_qserver.scopes import Scope
from sanic_qserver.structs.requests import Status


async def status_or_wait(call: Call) -> bytes:
    """RE Manager's status. With `wait_for`, once that is so, or at the latest after `timeout` seconds.

    Then the reply has one member more: `wait`, with `met`: whether it is so. Who
    waited for an item gets its `run_uids` too.
    """
    params = cast("Status", call.params)
    if params.wait_for is msgspec.UNSET:
        return await status(call)
    if params.wait_for.startswith(ITEM) and not call.access.holds(Scope.READ_QUEUE):
        raise ScopeMissing(
            f"Not enough permissions. To wait for an item requires scopes ['{Scope.READ_QUEUE}']",
            extra={"missing_scope": str(Scope.READ_QUEUE)},
        )
    live = call.services.live
    timeout_s = min(params.timeout, live.config.max_wait_s)
    began = monotonic()
    snapshot = await live.waits.until(params.wait_for, timeout_s)
    reply = await status(call) if snapshot is None else snapshot.raw
    wait: dict[str, Any] = {
        "for": params.wait_for,
        "met": snapshot is not None,
        "waited_s": round(monotonic() - began, 3),
    }
    if snapshot is not None and params.wait_for.startswith(ITEM):
        wait["run_uids"] = (await find_item(call, params.wait_for.removeprefix(ITEM))).run_uids
    return reply.rstrip()[:-1] + b',"wait":' + msgspec.json.encode(wait) + b"}"
