"""The row that tests a client's patience."""

import asyncio
from typing import cast

from msgspec import UnsetType

from sanic_qserver.api.call import Call
from sanic_qserver.errors import BadArguments
from sanic_qserver.structs.requests import ServerSleep
from sanic_qserver.texts import Text


async def server_sleep(call: Call) -> bytes:
    """Answer late. RE Manager is not asked."""
    time_s = cast("ServerSleep", call.params).time
    if isinstance(time_s, UnsetType):
        raise BadArguments(f"{Text.MISSING_TIME}: time", extra={"field": "time"})
    await asyncio.sleep(time_s)
    return b'{"success":true,"msg":""}'
