"""The row that tests a client's patience."""

import asyncio
from typing import cast

from sanic_qserver.api.call import Call
from sanic_qserver.structs.requests import ServerSleep


async def server_sleep(call: Call) -> bytes:
    """Answer late. RE Manager is not asked."""
    await asyncio.sleep(cast("ServerSleep", call.params).time)
    return b'{"success":true,"msg":""}'
