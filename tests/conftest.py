"""Shared fixtures: one real RE Manager a session, and the server in the test's own loop.

The first folder under `tests` says what a test needs, and marks it: `unit` starts no process, `integration` shares
one running RE Manager, `system` starts processes of its own (servers, browsers, directories, databases).
"""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from logins import settings
from newer_websockets import newer  # noqa: F401  # a fixture
from policy_people import as_, let_people_in
from ports import free_port
from postgres import cluster, url  # noqa: F401  # fixtures
from sanic import Sanic
from servers import KEY, Instrument, Served, app_of, start_server, stop_server
from watching import all_leave

from sanic_qserver.config.settings import Config, load

ROOT = Path(__file__).parent.parent
DATA = Path(__file__).parent / "data"
KINDS = ("unit", "integration", "system")

# Started in the background of a shell, a process ignores ctrl-C, and so would all programs that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# One address stands for all callers in tests: what it has free of bad credentials is a test's own business.
_WITH_KEY: dict[str, Any] = {
    "auth": {"single_user_api_key": KEY, "attempts": {"rejected_credentials": 1_000_000}},
    "idempotency": {"store": "memory"},
}


def pytest_xdist_auto_num_workers() -> int:
    """`-n auto`: two more than there are cores, since many tests wait rather than compute; each has an RE Manager."""
    return min((os.cpu_count() or 1) + 2, 8)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`-m unit` does not even import the others."""
    wanted = config.option.markexpr
    parts = collection_path.relative_to(ROOT).parts if collection_path.is_relative_to(ROOT) else ()
    is_other = wanted in KINDS and len(parts) > 1 and parts[0] == "tests" and parts[1] in KINDS and parts[1] != wanted
    return True if is_other else None


def _kind(item: pytest.Item) -> str:
    """The first folder under `tests`."""
    return item.path.relative_to(Path(__file__).parent).parts[0]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by its folder. What takes long comes first, so that parallel workers end together."""
    for item in items:
        kind = _kind(item)
        if kind not in KINDS:
            raise pytest.UsageError(f"{item.path}: tests live in one of {', '.join(KINDS)}")
        item.add_marker(kind)
        if kind == "unit" and "instrument" in getattr(item, "fixturenames", ()):
            raise pytest.UsageError(f"{item.nodeid} needs RE Manager: it belongs into integration or system")
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (-KINDS.index(_kind(item)), item.path not in slow))


@pytest.fixture(scope="session")
def instrument(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instrument]:
    """One Redis and one RE Manager for the whole session. Tests that break them start their own."""
    with Instrument(tmp_path_factory.mktemp("instrument")) as running:
        yield running


class Client(httpx.AsyncClient):
    """An HTTP client of one running application."""

    app: Sanic
    port: int


Serve = Callable[[Sanic], Awaitable[Client]]


@pytest.fixture
async def sanic_client() -> AsyncIterator[Serve]:
    """Start an application on a free port and get a client for it. Takes the place of pytest-sanic's fixture."""
    opened: list[tuple[Any, Client]] = []

    async def serve(app: Sanic) -> Client:
        port = free_port()
        server = await start_server(app, port)
        client = Client(base_url=f"http://127.0.0.1:{port}", timeout=20)
        client.app, client.port = app, port
        opened.append((server, client))
        return client

    yield serve
    await all_leave()
    for server, client in opened:
        await client.aclose()
        await stop_server(client.app, server)
        await asyncio.sleep(0.01)  # the aborted connections close in the next turns of the loop


MakeConfig = Callable[..., Config]


@pytest.fixture
def make_config(instrument: Instrument) -> MakeConfig:
    """A configuration for the shared RE Manager. Sections are given as keywords: `console={"max_lines": 5}`."""

    def make(**sections: Any) -> Config:
        settings: dict[str, Any] = dict(_WITH_KEY)
        for name, section in sections.items():
            settings[name] = {**settings.get(name, {}), **section}
        if "replicas" in sections and "idempotency" not in sections:
            del settings["idempotency"]  # Replicas have no memory in common.
        return load(environment=instrument.environment, overrides=settings)

    return make


@pytest.fixture
def serve_people(sanic_client: Serve, make_config: MakeConfig, tmp_path: Path) -> Callable[..., Any]:
    """Start a server with a policy of the test's own, whose people are let in; `staff`, an expert, clears its queue."""

    async def serve(policy: str, **sections: Any) -> Client:
        file = tmp_path / "permissions.yaml"
        file.write_text(policy)
        client = await sanic_client(app_of(make_config(policy={"permissions": str(file)}, **sections)))
        let_people_in(client.app)
        await until_connected(client)
        assert (await client.post("/api/queue/clear", headers=as_("staff"))).json()["success"]
        return client

    return serve


@pytest.fixture
def serve_replicas(sanic_client: Serve, make_config: MakeConfig, instrument: Instrument) -> Callable[..., Any]:
    """Start two servers that share a Redis: RE Manager's, under a name of the test's own, unless `replicas` says so."""

    async def serve(**sections: Any) -> tuple[Client, Client]:
        shared = {"redis": f"redis://127.0.0.1:{instrument.redis_port}/5", "name": f"test-{os.urandom(4).hex()}"}
        config = make_config(**{"replicas": shared, **sections})
        one, other = await sanic_client(app_of(config)), await sanic_client(app_of(config))
        for client in (one, other):
            client.headers["Authorization"] = f"ApiKey {KEY}"
            await until_connected(client)
        return one, other

    return serve


@pytest.fixture(scope="session")
def served(instrument: Instrument) -> Iterator[Served]:
    """A server with the shipped policies and the key, in front of the shared RE Manager, for the whole session."""
    # Who watched a moment ago costs RE Manager no more calls: tests count them.
    sections = {**_WITH_KEY, "live": {"linger_s": 0.2}}
    served = Served(app_of(load(environment=instrument.environment, overrides=sections)))
    yield served
    served.close()


@pytest.fixture
async def client(sanic_client: Serve, make_config: MakeConfig) -> Client:
    """A client with the key, of a server in front of the shared RE Manager, with an empty queue and history."""
    client = await sanic_client(app_of(make_config()))
    client.headers["Authorization"] = f"ApiKey {KEY}"
    await until_connected(client)
    status = (await client.get("/api/status")).json()
    if status["queue_autostart_enabled"]:
        assert (await client.post("/api/queue/autostart", json={"enable": False})).json()["success"]
    if any(status["plan_queue_mode"].values()):
        assert (await client.post("/api/queue/mode/set", json={"mode": "default"})).json()["success"]
    for path in ("/api/queue/clear", "/api/history/clear"):
        assert (await client.post(path)).json()["success"]
    return client


@pytest.fixture
async def scraper(sanic_client: Serve, make_config: MakeConfig) -> Client:
    """A client whose key may also read the metrics, which the policy of its server grants it."""
    access = {"roles": {"unauthenticated_single_user": {"scopes_add": ["admin:metrics"]}}}
    client = await sanic_client(app_of(make_config(policy={"access": access})))
    client.headers["Authorization"] = f"ApiKey {KEY}"
    await until_connected(client)
    return client


@pytest.fixture
async def anonymous(client: Client) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the same server without a key."""
    async with httpx.AsyncClient(base_url=client.base_url, timeout=20) as other:
        yield other


async def until_connected(client: Client) -> None:
    """Wait until the server has found RE Manager."""
    for _ in range(200):
        if client.app.ctx.services.manager.is_connected:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the server did not connect to RE Manager")


async def until_so(is_so: Callable[[], object], timeout_s: float = 30) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(timeout_s):
        while not is_so():
            await asyncio.sleep(0.02)


async def until_status(client: httpx.AsyncClient, timeout_s: float = 30, **wanted: Any) -> dict[str, Any]:
    """Poll the status until it holds these values."""
    until = asyncio.get_running_loop().time() + timeout_s
    while True:
        status: dict[str, Any] = (await client.get("/api/status")).json()
        if all(status.get(name) == value for name, value in wanted.items()):
            return status
        assert asyncio.get_running_loop().time() < until, f"waited for {wanted}, got {status}"
        await asyncio.sleep(0.1)


@pytest.fixture
async def open_environment(client: Client) -> Client:
    """The client, with the worker environment open; closed again only by the end of the session."""
    status = (await client.get("/api/status")).json()
    if not status["worker_environment_exists"]:
        assert (await client.post("/api/environment/open")).json()["success"]
    await until_status(client, 60, worker_environment_exists=True, manager_state="idle")
    return client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder."""
    return tmp_path


def find_program(name: str) -> str | None:
    """Where a program is; Debian keeps servers where not everybody looks for programs."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin")


def needs(*programs: str) -> None:
    """Skip a test whose Debian programs are not installed; fail where all tests are required, as in `.ci/run`."""
    missing = [program for program in programs if find_program(program) is None]
    if missing and os.environ.get("REQUIRE_ALL_TESTS"):
        pytest.fail(f"not installed: {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; .ci/run installs all that the tests need")


@pytest.fixture
def serve_logins(sanic_client, make_config, folder):
    """Start a server with logins; keywords go into `[auth]`."""

    async def serve(*providers, **auth) -> Client:
        return await sanic_client(app_of(make_config(**settings(folder, *providers, **auth))))

    return serve


@pytest.fixture
async def visitor(serve_logins) -> Client:
    """A server with logins, seen by nobody in particular."""
    return await serve_logins()
