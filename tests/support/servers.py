"""Servers of tests: in the loop of the test, in a thread for many tests, or as a process of its own."""

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import httpx
from ports import free_port
from sanic import Sanic
from sanic.server import HttpProtocol

from sanic_qserver import demo
from sanic_qserver.app import create_app
from sanic_qserver.config.settings import Config
from sanic_qserver.http.server.tls import choose_protocol

KEY = "the-key-of-the-tests"
Sanic.test_mode = True
_numbers = itertools.count()


def with_key(instrument: demo.Instrument) -> dict[str, str]:
    """The environment of a server process: where RE Manager is, and the key of the tests."""
    return {**instrument.environment, "QSERVER_HTTP_SERVER_SINGLE_USER_API_KEY": KEY}


def until(is_so: Callable[[], object], timeout_s: float = 30, says: Callable[[], str] = lambda: "") -> None:
    """Wait until it is so. It fails with what `says` gives."""
    end = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < end, says()
        time.sleep(0.02)


def app_of(config: Config) -> Sanic:
    """The application, under a name of its own."""
    return create_app(config, name=f"test_{os.getpid()}_{next(_numbers)}")


async def start_server(app: Sanic, port: int) -> Any:
    """Serve in the running loop. What it gives is for `stop_server`.

    pytest-sanic 1.9.1 does not run start-up listeners on Sanic 25.12.
    """
    protocol = choose_protocol(app) if hasattr(app.ctx, "services") else HttpProtocol  # a plain application of the test
    server = await app.create_server("127.0.0.1", port, return_asyncio_server=True, protocol=protocol)
    assert server is not None
    for step in (server.startup, server.before_start, server.after_start):
        await step()
    return server


async def stop_server(app: Sanic, server: Any) -> None:
    """End it and its connections, and forget the application: Sanic keeps all of them by name."""
    await server.before_stop()
    server.close()
    for connection in list(server.connections):
        connection.abort()
    await server.after_stop()
    Sanic.unregister_app(app)


class Instrument(demo.Instrument):
    """Redis and RE Manager, on ports that no other test process has."""

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder, ports=free_port, **options)


class Served:
    """A server that runs in a thread of its own for many tests, and a plain client for it."""

    def __init__(self, app: Sanic, port: int = 0) -> None:
        self.app = app
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.key = {"Authorization": f"ApiKey {KEY}"}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self.run(self._start())
        self.client = httpx.Client(base_url=self.url, timeout=20)

    def run(self, coroutine: Any) -> Any:
        """The result of a coroutine, run in the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    @property
    def sent(self) -> int:
        """How many calls went to RE Manager."""
        return int(self.app.ctx.services.manager.counts["sent"])

    async def _start(self) -> Any:
        server = await start_server(self.app, self.port)
        while not self.app.ctx.services.manager.is_connected:
            await asyncio.sleep(0.02)
        return server

    def close(self) -> None:
        """End server and thread."""
        self.client.close()
        self.run(stop_server(self.app, self._server))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class ServerProcess:
    """`python -m sanic_qserver …` as a process of its own; a context manager, which waits until it answers.

    `arguments` begin with the subcommand, `serve` or `demo`. The port is added to them. It works in the folder, which
    has its output too. Without `with`, nobody waits for the answer: then `stop` it.
    """

    def __init__(
        self, folder: Path, *arguments: object, environment: Mapping[str, str] | None = None, port: int = 0
    ) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._output = folder / f"server-{self.port}.log"
        command = [sys.executable, "-m", "sanic_qserver", *map(str, arguments), "--port", str(self.port)]
        with self._output.open("ab") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=output, cwd=folder, env={**os.environ, **(environment or {})}
            )

    @property
    def text(self) -> str:
        """All that it printed and logged so far."""
        return self._output.read_text("utf-8", "replace")

    def wait_for(self, is_so: Callable[[], object], timeout_s: float = 90) -> None:
        """Until something is so. Shows the output when it never is, or when the process ends."""
        until = time.monotonic() + timeout_s
        while not is_so():
            assert self.process.poll() is None, self.text
            assert time.monotonic() < until, self.text
            time.sleep(0.05)

    def says(self, text: str) -> None:
        """Wait until the output holds this text."""
        self.wait_for(lambda: text in self.text)

    def answers(self, path: str = "/readyz", status: int = 200) -> bool:
        """Whether this path is answered with this status now."""
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(self.url + path, timeout=5).status_code == status
        return False

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 60) -> int:
        """Send the signal and wait for the end. Gives the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(timeout_s)
        finally:
            self.process.kill()

    def __enter__(self) -> Self:
        try:
            self.wait_for(self.answers)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
