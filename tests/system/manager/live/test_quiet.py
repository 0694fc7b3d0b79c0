"""With RE Manager's publishing switched off, its default, and through its restart, all but the console is live."""

import asyncio
import json

import pytest
from conftest import KEY, app_of, until_connected
from watching import Watcher, all_leave

from sanic_qserver.config.settings import load
from sanic_qserver.demo import Instrument

HEADERS = {"Authorization": f"ApiKey {KEY}"}
PLAN = {"name": "count", "args": [["det1"]], "item_type": "plan"}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    """An instrument that publishes nothing."""
    with Instrument(tmp_path_factory.mktemp("quiet"), publish=False) as instrument:
        yield instrument


@pytest.fixture
async def client(sanic_client, quiet):
    config = load(environment=quiet.environment, overrides={"auth": {"single_user_api_key": KEY}})
    client = await sanic_client(app_of(config))
    client.headers.update(HEADERS)
    await until_connected(client)
    yield client
    await all_leave()


async def next_event(watcher, kind, timeout_s=20):
    async with asyncio.timeout(timeout_s):
        while True:
            event = json.loads(await watcher.recv(timeout_s))
            if event["type"] == kind:
                return event


@pytest.mark.parametrize("path", ["/api/status/ws", "/api/info/ws"])
async def test_the_status_still_comes_each_second_in_the_same_form(client, path):
    watcher = await Watcher.connect(client.port, path, HEADERS)
    times = []
    for _ in range(4):
        message = json.loads(await watcher.recv(3))
        assert set(message) == {"time", "msg"}
        assert isinstance(message["time"], float)
        assert set(message["msg"]) == {"status"}
        times.append(message["time"])
    assert times == sorted(times)


async def test_changes_are_told_and_waited_for(client):
    watcher = await Watcher.connect(client.port, "/api/events?topics=queue,status", HEADERS)
    await next_event(watcher, "snapshot")
    waiting = asyncio.ensure_future(client.get("/api/status?wait_for=items_in_queue=1"))
    reply = (await client.post("/api/queue/item/add", json={"item": PLAN})).json()
    assert (await next_event(watcher, "item_added"))["data"]["item_uid"] == reply["item"]["item_uid"]
    assert (await waiting).json()["wait"]["met"] is True
    await client.post("/api/queue/clear")
    assert (await next_event(watcher, "item_removed"))["data"]["item_uid"] == reply["item"]["item_uid"]


async def test_a_restart_of_re_manager_is_told_and_survived(client, quiet):
    status = await Watcher.connect(client.port, "/api/status/ws", HEADERS)
    watcher = await Watcher.connect(client.port, "/api/events?topics=queue,status", HEADERS)
    await next_event(watcher, "snapshot")
    quiet.manager.stop()
    assert (await next_event(watcher, "unavailable"))["topic"] == "status"
    newcomer = await Watcher.connect(client.port, "/api/events?topics=status", HEADERS)
    await next_event(newcomer, "unavailable")
    await asyncio.to_thread(quiet.start_manager)
    await next_event(newcomer, "available")
    await next_event(watcher, "available")
    await until_connected(client)
    reply = (await client.post("/api/queue/item/add", json={"item": PLAN})).json()
    assert (await next_event(watcher, "item_added"))["data"]["item_uid"] == reply["item"]["item_uid"]
    while not json.loads(await status.recv(5))["msg"]["status"]["items_in_queue"]:
        pass
