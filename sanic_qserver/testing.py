"""Fixtures for the tests of custom modules: a live RE Manager with simulated devices, and servers in front of it.

In `conftest.py` of your project: `pytest_plugins = ["sanic_qserver.testing"]`. It needs `sanic-qserver[demo]`.

    def test_hello(qserver):
        client = qserver("my_module")
        assert client.get("/api/hello").status_code == 200
"""

import asyncio
import itertools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import pytest
from sanic import Sanic

from sanic_qserver.app import create_app
from sanic_qserver.config.settings import Config, load
from sanic_qserver.demo import Instrument, free_port
from sanic_qserver.http.application import App

KEY = "the-key-of-the-tests"
START_LIMIT_S = 30.0
_names = itertools.count()


class Client(httpx.Client):
    """An HTTP client with the key of the server. `app` is the Sanic application behind it."""

    app: App

    def without_key(self) -> httpx.Client:
        """A client of the same server that says nothing about who it is."""
        return httpx.Client(base_url=self.base_url, timeout=self.timeout)

    def wait_for_status(self, timeout_s: float = 30.0, **wanted: Any) -> dict[str, Any]:
        """RE Manager's status, as soon as it holds these values. Raises AssertionError when it never does."""
        until = time.monotonic() + timeout_s
        while True:
            status: dict[str, Any] = self.get("/api/status").json()
            if all(status.get(name) == value for name, value in wanted.items()):
                return status
            assert time.monotonic() < until, f"waited {timeout_s:g} s for {wanted}; the status is {status}"  # noqa: S101
            time.sleep(0.1)

    def open_environment(self) -> None:
        """Open the worker environment, unless it is open, and wait until plans can run."""
        if not self.get("/api/status").json()["worker_environment_exists"]:
            reply = self.post("/api/environment/open").json()
            assert reply["success"], reply["msg"]  # noqa: S101  # tests are what this is for
        self.wait_for_status(60.0, worker_environment_exists=True, manager_state="idle")


class Server:
    """One server in a thread of its own: the test may be a plain function, and breakpoints work."""

    def __init__(self, config: Config) -> None:
        self.port = free_port()
        self.app = create_app(config, name=f"testing_{os.getpid()}_{next(_names)}")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="test-server", daemon=True)

    def start(self) -> Client:
        """Serve, and wait until RE Manager is connected. Raises what the start raises."""
        self._thread.start()
        self._run(self._start())
        client = Client(
            base_url=f"http://127.0.0.1:{self.port}", timeout=20, headers={"Authorization": f"ApiKey {KEY}"}
        )
        client.app = self.app
        return client

    def stop(self) -> None:
        """Stop serving and release everything."""
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _run(self, coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(START_LIMIT_S)

    async def _start(self) -> None:
        server: Any = await self.app.create_server("127.0.0.1", self.port, return_asyncio_server=True)
        self._server = server
        await server.startup()
        await server.before_start()
        await server.after_start()
        manager = self.app.ctx.services.manager
        for _ in range(200):
            if manager.is_connected:
                return
            await asyncio.sleep(0.02)

    async def _stop(self) -> None:
        await self._server.before_stop()
        self._server.close()
        for connection in list(self._server.connections):
            connection.abort()
        await self._server.after_stop()


@pytest.fixture(scope="session")
def qserver_instrument(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instrument]:
    """One Redis and one RE Manager with simulated devices, for all tests of the session."""
    with Instrument(tmp_path_factory.mktemp("qserver")) as instrument:
        yield instrument


Serve = Callable[..., Client]


@pytest.fixture
def qserver(qserver_instrument: Instrument, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Start a server with custom modules, in front of a live RE Manager with an empty queue.

    `qserver("my_module", options={"limit": 5})` gives an authenticated client. `options` go to the (first) module;
    further keywords are sections of `config.toml`: `server={"max_nesting": 9}`. A module that fails fails the test.
    """
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(Sanic, "test_mode", True)  # Sanic rewrites its own methods per application; this undoes it.
    servers: list[tuple[Server, Client]] = []

    def serve(*modules: str, options: Mapping[str, Any] | None = None, **sections: Any) -> Client:
        extensions: dict[str, Any] = {"modules": modules, "required": True, "entry_points": False}
        if options is not None:
            extensions["options"] = {modules[0]: dict(options)}
        extensions.update(sections.pop("extensions", {}))
        settings = {"auth": {"single_user_api_key": KEY}, **sections, "extensions": extensions}
        server = Server(load(environment=qserver_instrument.environment, overrides=settings))
        client = server.start()
        servers.append((server, client))
        client.post("/api/queue/clear")
        return client

    yield serve
    for server, client in servers:
        client.close()
        server.stop()
