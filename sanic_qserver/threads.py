"""Threads for what blocks: a bounded pool for work of ours, and daemon threads for code that is not ours.

What hangs in a daemon thread neither blocks the loop nor keeps the server from stopping.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sanic_qserver.errors import Overloaded

Result = TypeVar("Result")


class BoundedPool:
    """Threads for what blocks. `threads` run, `queue_limit` wait, more are refused with Overloaded (503)."""

    def __init__(self, threads: int, queue_limit: int, name: str) -> None:
        self._most = threads + queue_limit
        self._here = 0
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(self, work: Callable[[], Result]) -> Result:
        """The result of `work`, done in a thread."""
        if self._here >= self._most:
            raise Overloaded("Too many logins at once", headers={"Retry-After": "2"})
        self._here += 1
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        future.add_done_callback(self._leave)
        return await asyncio.shield(future)

    def _leave(self, future: "asyncio.Future[Result]") -> None:
        self._here -= 1
        if not future.cancelled():
            future.exception()  # Seen, also when the client has gone meanwhile.

    def close(self) -> None:
        """Let the threads end when they are done."""
        self._threads.shutdown(wait=False, cancel_futures=True)


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
