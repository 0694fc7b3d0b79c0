"""The examples under plugins/ run."""

import asyncio
import sys

import pytest
from conftest import KEY, ROOT, app_of, until_connected
from sanic import Sanic, json
from sheets import xlsx

PLUGINS = ROOT / "plugins"
NAMES = sorted(file.stem for file in PLUGINS.glob("*.py"))


@pytest.fixture
async def serve(monkeypatch, sanic_client, make_config):
    """A client with the key, of a server with one plugin."""
    monkeypatch.setattr(sys, "path", [*sys.path])

    async def serve(name, **options):
        settings = {"modules": [name], "paths": [str(PLUGINS)], "required": True, "options": {name: options}}
        client = await sanic_client(app_of(make_config(extensions=settings)))
        client.headers["Authorization"] = f"ApiKey {KEY}"
        await until_connected(client)
        assert (await client.post("/api/queue/clear")).json()["success"]
        return client

    yield serve
    for name in NAMES:
        sys.modules.pop(name, None)


def test_every_plugin_has_a_test():
    tested = {name.removeprefix("test_plugin_") for name in globals() if name.startswith("test_plugin_")}
    assert tested == set(NAMES)


async def test_plugin_notes(serve, tmp_path):
    file = tmp_path / "notes.jsonl"
    client = await serve("notes", file=str(file))
    assert (await client.post("/api/notes", json={"text": "Beam is back"})).json()["success"]
    refused = await client.post("/api/notes", json={"text": ""})
    assert refused.status_code == 400
    assert refused.json()["detail"].startswith("text: ")
    again = await serve("notes", file=str(file))
    (note,) = (await again.get("/api/notes?limit=5")).json()["notes"]
    assert (note["text"], note["user"]) == ("Beam is back", "UNAUTHENTICATED_SINGLE_USER")


async def test_plugin_badge(serve):
    client = await serve("badge", people={"4711": "ada"}, roles=["user"])
    headers = {"Authorization": "Badge 4711"}
    reply = await client.post(
        "/api/queue/item/add",
        headers=headers,
        json={"item": {"name": "count", "args": [["det1"]], "item_type": "plan"}},
    )
    assert reply.json()["item"]["user"] == "ada"
    assert (await client.get("/api/queue/get", headers={"Authorization": "Badge 1"})).status_code == 401


async def test_plugin_wheel_sheet(serve):
    client = await serve("wheel_sheet")
    header = ["sample", "slot", "edges", "repeats"]
    body = xlsx(["steel", 1, "Fe, Ni", 2], ["brass", 2, "Cu"], header=header)
    files = {"spreadsheet": ("wheel.xlsx", body)}
    reply = (await client.post("/api/queue/upload/spreadsheet", files=files, data={"data_type": "wheel"})).json()
    assert reply["success"], reply["msg"]
    items = (await client.get("/api/queue/get")).json()["items"]
    assert [item["kwargs"]["md"]["edge"] for item in items] == ["Fe", "Ni", "Cu"]
    files = {"spreadsheet": ("wheel.xlsx", xlsx(["gold", 1, "Au"], header=header))}
    reply = (await client.post("/api/queue/upload/spreadsheet", files=files, data={"data_type": "wheel"})).json()
    assert "row 2, column C (edges): 'Au'" in reply["msg"]


async def test_plugin_motor_range(serve):
    client = await serve("motor_range", ranges={"motor": [-10, 10]})

    async def add(*args, **kwargs):
        item = {"name": "scan", "args": args, "kwargs": kwargs, "item_type": "plan"}
        return (await client.post("/api/queue/item/add", json={"item": item})).json()

    assert (await add(["det1"], "motor", -10, 10, 100))["success"]
    assert "motor may go from -10 to 10, not to 11" in (await add(["det1"], "motor", -1, 11, 5))["msg"]
    assert "not to -99" in (await add(["det1"], "motor1", 0, 1, "motor", -99, 0, num=5))["msg"]


async def test_plugin_announce(serve, sanic_client):
    heard = []
    chat = Sanic("chat_of_test_plugin_announce", configure_logging=False)

    @chat.post("/")
    async def post(request):
        heard.append(request.json["text"])
        return json({})

    listener = await sanic_client(chat)
    client = await serve("announce", url=str(listener.base_url) + "/")
    (hook,) = client.app.ctx.extensions.loaded.all("on_status")
    followed = hook.function.__self__
    announcer = type(followed)(followed.host)  # One of our own: the other hears RE Manager's real status.
    await announcer.hear({"manager_state": "executing_queue", "items_in_queue": 2})
    await announcer.hear({"manager_state": "idle", "items_in_queue": 1})
    await asyncio.sleep(0)
    assert heard == ["The queue has stopped; 1 plans are left."]


async def test_plugin_day_report(serve):
    client = await serve("day_report")
    page = await client.get("/api/pages/day-report/index.html")
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert (await client.get("/api/pages/day-report/report.js")).headers["content-type"].startswith("text/javascript")
    for name in ("nothing.html", "..%2fday_report.py"):
        assert (await client.get(f"/api/pages/day-report/{name}")).status_code == 404
    menu = 'content="day-report" data-title="Day report" data-scope="read:history"'
    assert menu in (await client.get("/ui")).text
    nobody = await client.get("/api/pages/day-report/index.html", headers={"Authorization": ""})
    assert nobody.status_code == 401
