"""How much a principal may have at once: the largest batch, and the most items in the queue. And what batches cost.

Single adds of those without a quota pass with two comparisons. Under a quota, adds go one after the other,
through all replicas (`shared_state/edit_lock.py`), so that two at once cannot both take the last place. When the Redis
that replicas share is away, these adds are refused (503).
"""

import functools
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from sanic_qserver.api.call import Call
from sanic_qserver.api.endpoint import Answer, Endpoint, Serve
from sanic_qserver.errors import TooManyRequests
from sanic_qserver.manager.bodies import Body
from sanic_qserver.middleware.ownership import editing, read_queue
from sanic_qserver.policy.protocols import Attempt

_COUNTS: Mapping[str, Callable[[Any], int]] = {
    "queue_item_add": lambda params: 1,  # noqa: ARG005  # one, whatever it is
    "queue_item_add_batch": lambda params: len(params.items or ()),  # without a list, RE Manager says so
}


@asynccontextmanager
async def room_for(call: Call, count: int) -> AsyncIterator[None]:
    """Room for so many items, for as long as the body runs. Raises TooManyRequests."""
    _check_batch(call, count)
    await _charge(call, count)
    if call.access.quota.queue_items is None:
        yield
        return
    async with editing(call):
        await _check_queue(call, count)
        yield


async def _charge(call: Call, count: int) -> None:
    """Count items once, all or none: those of a stream may come again without the bad ones, or after a refusal."""
    more = count - call.charges.items
    if call.endpoint.method != "queue_item_add_batch" or more <= 0:  # A single add was counted at the gate.
        return
    row, access = call.endpoint, call.access
    items = Attempt(access=access, path=row.path, scope=row.scope, address=call.address, cost=more)
    verdict = await call.services.rates.admit_items(items)
    call.charges.items = count
    if verdict is not None:
        call.charges.headers = verdict.headers


async def check_quota(call: Call, count: int) -> None:
    """Ask only: nothing is counted, and nothing is held for the caller. Raises TooManyRequests."""
    _check_batch(call, count)
    await _check_queue(call, count)


def _check_batch(call: Call, count: int) -> None:
    most = call.access.quota.batch_items
    if most is not None and count > most:
        raise TooManyRequests(
            f"Your quota allows batches of at most {most} items; this one has {count}",
            extra={"rule": "quota.batch_items", "limit": most},
        )


async def _check_queue(call: Call, count: int) -> None:
    most = call.access.quota.queue_items
    if most is None:
        return
    waiting = (await read_queue(call)).count_items(call.access.user)
    if waiting + count > most:
        raise TooManyRequests(
            f"Your quota allows {most} items in the queue; {waiting} are there, and this adds {count}",
            extra={"rule": "quota.queue_items", "limit": most, "waiting": waiting},
        )


def within_quota(row: Endpoint, serve: Serve) -> Serve:
    """The layer QUOTA."""
    count_items = _COUNTS[row.method]
    is_single = row.method == "queue_item_add"

    @functools.wraps(serve)
    async def checked(call: Call) -> bytes | Body | Answer:
        count = count_items(call.params)
        quota = call.access.quota
        if is_single and quota.queue_items is None:
            return await serve(call)
        async with room_for(call, count):
            return await serve(call)

    return checked
