"""The rows of the queue that are more than "forward"."""

from typing import cast

import msgspec
from msgspec import UNSET

from sanic_qserver.api.call import Call
from sanic_qserver.errors import BadArguments
from sanic_qserver.structs.requests import QueueModeSet


async def queue_mode_set(call: Call) -> bytes:
    """Set the mode; `loop` and `ignore_failures` may stand at the top level, as in the reference server."""
    params = cast("QueueModeSet", call.params)
    given = {"loop": params.loop, "ignore_failures": params.ignore_failures}
    at_top = {name: value for name, value in given.items() if value is not UNSET}
    if at_top and params.mode is not UNSET:
        raise BadArguments("mode: give either 'mode', or 'loop' and 'ignore_failures', not both")
    if params.mode is UNSET:
        params = msgspec.structs.replace(params, mode=at_top, loop=UNSET, ignore_failures=UNSET)
    return await call.ask(params)
