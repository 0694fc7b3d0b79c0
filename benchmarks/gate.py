"""What each stage of a request costs, in µs, without sockets: `python benchmarks/gate.py`.

The whole closure answers from an RE Manager that is not there: its share is the future that a real one would fill.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]

from sanic.compat import Header
from servers import KEY, RATES

from sanic_qserver.api.table import ENDPOINTS
from sanic_qserver.app import create_app
from sanic_qserver.config.settings import load
from sanic_qserver.http.credentials import read_credential
from sanic_qserver.http.request_id import read_request_id
from sanic_qserver.http.server.request import DirectRequest

COUNT = 300  # Short enough to fit between the interruptions of a busy machine: the best of many counts.
REPLY = b'{"msg":"' + b"x" * 1000 + b'"}'


class NoManager:
    """Answers at once."""

    def coalesce(self, method: str, params: Any = None, *, fairness_key: str = "") -> "asyncio.Future[bytes]":
        """A reply that is there already."""
        del method, params, fairness_key
        future = asyncio.get_running_loop().create_future()
        future.set_result(REPLY)
        return future


async def measured(what: str, work: Callable[[], Any]) -> None:
    """Print the time of one call: the best of 200 runs."""
    best = float("inf")
    for _ in range(200):
        started = time.perf_counter()
        for _ in range(COUNT):
            result = work()
            if isinstance(result, Awaitable):
                await result
        best = min(best, time.perf_counter() - started)
    print(f"{what:40} {best / COUNT * 1e6:7.2f} µs", flush=True)


async def main() -> None:
    """Stage by stage."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as rates:
        rates.write(RATES)  # The shipped ones would stop this after a second.
        rates.flush()
        overrides = {"auth": {"single_user_api_key": KEY}, "policy": {"rate_limits": rates.name}}
        app = create_app(load(environment={}, overrides=overrides), name="micro")
    app.router.finalize()
    object.__setattr__(app.ctx.services, "reads", NoManager())
    row = next(row for row in ENDPOINTS if row.path == "/status")
    _, handler, _ = app.router.get("/api/status", "GET", None)
    headers = Header({"host": "x", "authorization": f"ApiKey {KEY}", "accept": "*/*", "user-agent": "benchmark"})

    def request() -> DirectRequest:
        made = DirectRequest(b"/api/status", headers, "1.1", "GET", None, app)  # type: ignore[arg-type]
        made.conn_info = SimpleNamespace(client_ip="127.0.0.1")  # type: ignore[assignment]
        made.body = b""
        made.stream = SimpleNamespace(request_body=None)  # type: ignore[assignment]
        return made

    one = request()
    await handler(one)
    await measured("make a request (Sanic's part)", request)
    await measured("read the credential", lambda: read_credential(one))
    await measured("request id", lambda: read_request_id(request()))
    await measured("gate: identify, scope, rates", lambda: app.ctx.gate.admit(one, row))
    await measured("whole closure", lambda: handler(one))
    response = await handler(one)
    await measured("head of the response", lambda: response.head(keep_alive=True))


if __name__ == "__main__":
    asyncio.run(main())
