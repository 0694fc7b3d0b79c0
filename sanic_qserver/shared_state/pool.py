"""Connections to Redis: a bounded pool that gives nobody a connection that Redis has closed.

Import it where it is used only: it needs the extra [redis].
"""

import contextlib
import select
from typing import Any

from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import AbstractConnection

_ANY_NEWS = select.POLLIN | select.POLLPRI | select.POLLHUP | select.POLLERR


class FreshPool(BlockingConnectionPool):
    """Looks at a connection before it is used: after a restart of Redis the first call goes over a new one.

    Nothing was sent over it yet, so this repeats nothing. What is cut off while an answer is awaited still fails.
    """

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        """Connect it; anew, if it is broken."""
        # redis 8.1 looks at what its reader has read, and not even at that while "maintenance notifications" are on.
        if connection.is_connected and _is_stale(connection):
            with contextlib.suppress(OSError, RuntimeError):  # uvloop's, for a connection that was reset
                await connection.disconnect(nowait=True)
        await super().ensure_connection(connection)


def _is_stale(connection: AbstractConnection) -> bool:
    """Whether it is closed, or there is something to read where nothing was asked."""
    writer: Any = connection._writer  # noqa: SLF001  # nothing public leads to the socket
    transport = writer.transport
    socket = None if transport.is_closing() else transport.get_extra_info("socket")
    if socket is None or socket.fileno() < 0:
        return True
    # The loop may not have heard yet what the kernel knows.
    poll = select.poll()
    poll.register(socket.fileno(), _ANY_NEWS)
    return bool(poll.poll(0))
