"""Ends tasks, so that they do end.

`asyncio.wait_for` of Python 3.11 forgets a cancellation that comes in the same turn as what it waits for, and redis-py
sends each command so: a loop that asks Redis goes on as if nobody had cancelled it. So who must know that a task has
ended asks again.
"""

import asyncio
from typing import Any

_AGAIN_S = 1.0  # Longer than what a task does to end in order.


async def end_tasks(*tasks: "asyncio.Future[Any] | None") -> None:
    """Cancel tasks until all have ended. What they raised is dropped; None is no task."""
    here = [task for task in tasks if task is not None]
    left = {task for task in here if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_AGAIN_S)
    await asyncio.gather(*here, return_exceptions=True)
