"""The streams that existing clients watch: status and other information, framed exactly as they parse it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from sanic_qserver.endpoints.endpoint import Call
from sanic_qserver.manager.publications import INFO

_STATUS = b'"status"'


async def status_messages(call: Call) -> AsyncIterator[bytes]:
    """Stream the status: `{"time", "msg": {"status": …}}` on each change, and once a second."""
    async for message in info_messages(call):
        if _STATUS in message:
            yield message


async def info_messages(call: Call) -> AsyncIterator[bytes]:
    """Stream what RE Manager tells about itself: `{"time", "msg": {<class>: …}}`, status among it."""
    kept: deque[bytes] = deque(maxlen=call.services.config.console.max_watcher_messages)
    arrived = asyncio.Event()

    def hear(topic: str, payload: bytes) -> None:
        if topic == INFO:
            kept.append(payload)
            arrived.set()

    end = call.services.publications.listen(hear)
    try:
        while True:
            await arrived.wait()
            arrived.clear()
            while kept:
                yield kept.popleft()
    finally:
        end()
