"""The rows of the queue that are more than "forward"."""

from typing import cast

import msgspec
from msgspec import UNSET

from sanic_qserver.api.call import Call
from sanic_qserver.structs.requests import QueueModeSet


async def queue_mode_set(call: Call) -> bytes:
    """Set the mode; `loop` and `ignore_failures` may stand at the top level, as in the reference server."""
    params = cast("QueueModeSet", call.params)
    given = {"loop": params.loop, "ignore_failures": params.ignore_failures}
    at_top = {name: value for name, value in given.items() if value is not UNSET}
    mode = at_top if params.mode is UNSET else params.mode  # `mode` wins, as there.
    params = msgspec.structs.replace(params, mode=mode, loop=UNSET, ignore_failures=UNSET)
    return await call.ask(params)
