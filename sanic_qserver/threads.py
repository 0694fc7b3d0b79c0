"""Threads for code that is not ours: what hangs in one neither blocks the loop nor keeps the server from stopping."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from sanic_qserver.errors import Overloaded

Result = TypeVar("Result")


class DaemonThreads:
    """Runs functions in threads that are not waited for at exit, as those of an executor would be."""

    def __init__(self, limit: int = 32) -> None:
        self.limit = limit
        self.count = 0

    async def run(self, function: Callable[[], Result]) -> Result:
        """The result of `function`, called in a thread. When the caller gives up, the thread runs on by itself.

        Raises Overloaded (503) when `limit` threads are busy: then most of them hang.
        """
        if self.count >= self.limit:
            raise Overloaded(f"{self.count} functions of extensions are still running", headers={"Retry-After": "5"})
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self.count += 1

        def done(result: Any, error: BaseException | None) -> None:
            self.count -= 1
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        def work() -> None:
            result, failure = None, None
            try:
                result = function()
            except BaseException as error:  # it is raised again where it is waited for
                failure = RuntimeError("StopIteration") if isinstance(error, StopIteration) else error
            with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits.
                loop.call_soon_threadsafe(done, result, failure)

        threading.Thread(target=work, name="extension", daemon=True).start()
        return await future
