"""The rows that read: coalesced, and cached where RE Manager has a uid. And the status, or waiting for a condition."""

from time import monotonic
from typing import Any, cast

import msgspec

from sanic_qserver.api.call import Call
from sanic_qserver.api.items.lookup import find_item
from sanic_qserver.errors import ScopeMissing
from sanic_qserver.manager.bodies import Body
from sanic_qserver.manager.client.timeline import mark_waiting
from sanic_qserver.manager.live.conditions import ITEM
from sanic_qserver.scopes import Scope
from sanic_qserver.structs.requests import Reloadable, ReRuns, Status


async def status(call: Call) -> bytes:
    """RE Manager's status, asked for after the caller asked."""
    return await call.services.reads.coalesce("status", fairness_key=call.fairness_key)


async def re_runs_fixed(call: Call) -> Body:
    """The runs that the last part of the path names."""
    option = call.endpoint.path.rsplit("/", 1)[1]
    params = ReRuns(option=option)  # one of the table's
    return await call.services.reads.read("re_runs", params, fairness_key=call.fairness_key)


async def read(call: Call) -> bytes | Body:
    """A read. `reload` is for the reference server's cache of stale replies; every read here is fresh."""
    params = call.params
    if isinstance(params, Reloadable) and params.reload is not msgspec.UNSET:
        params = msgspec.structs.replace(params, reload=msgspec.UNSET)
    if call.unknown:
        return await call.ask(params)
    return await call.services.reads.read(call.endpoint.method, params, fairness_key=call.fairness_key)


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
    mark_waiting()
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
