"""The row /queue/upload/spreadsheet, against a real RE Manager."""

import asyncio
import json
import sys
import textwrap
import time

import msgspec
import pytest
from conftest import KEY, ROOT, app_of, until_connected
from sheets import GOOD, csv, many_rows, xlsx, zip_bomb

from sanic_qserver.structs.identity import Quota

PATH = "/api/queue/upload/spreadsheet"


async def upload(client, body, name="plans.xlsx", **fields):
    reply = await client.post(PATH, files={"spreadsheet": (name, body)}, data=fields)
    assert reply.status_code == 200, reply.text
    return reply.json()


async def queue_of(client):
    return (await client.get("/api/queue/get")).json()["items"]


async def test_the_plans_of_a_sheet_are_queued_and_every_row_is_reported(client):
    reply = await upload(client, xlsx(*GOOD[:1], [None, "ignored"], *GOOD[1:]))
    assert reply["success"], reply["msg"]
    items = await queue_of(client)
    assert [item["name"] for item in items] == ["count", "count"]
    assert items[0]["user"] == "UNAUTHENTICATED_SINGLE_USER"
    assert [(row["sheet"], row["row"], row["success"], row["item_uid"]) for row in reply["rows"]] == [
        ("Sheet", 2, True, items[0]["item_uid"]),
        ("Sheet", 4, True, items[1]["item_uid"]),
    ]
    assert reply["skipped_rows"] == [3]
    assert reply["qsize"] == 2


async def test_a_plan_that_re_manager_refuses_is_reported_by_row_and_nothing_is_added(client):
    reply = await upload(client, csv("count,['det1'],,", "no_such_plan,,,"), "plans.csv")
    assert not reply["success"]
    assert [row["success"] for row in reply["rows"]] == [True, False]
    assert reply["rows"][1]["row"] == 3
    assert reply["msg"] == "Failed to add all items: validation of 1 out of 2 submitted items failed"
    assert reply["results"][0] == {"success": True, "msg": ""}
    assert "no_such_plan" in reply["results"][1]["msg"]
    assert await queue_of(client) == []


async def test_a_sheet_that_cannot_be_read_answers_as_re_manager_refuses(client):
    reply = await upload(client, csv("count,,1+1,"), "plans.csv")
    assert reply["success"] is False
    assert "row 2, column C ('num'): '1+1'" in reply["msg"]
    assert reply["items"] == reply["results"] == []


async def test_a_dry_run_shows_the_plans_and_adds_nothing(client):
    reply = await upload(client, xlsx(*GOOD), dry_run="true")
    assert reply["success"]
    assert reply["dry_run"] is True
    assert [item["name"] for item in reply["items"]] == ["count", "count"]
    assert await queue_of(client) == []


async def test_the_example_sheet_of_the_documentation_is_read(client):
    sheet = ROOT / "plugins" / "samples.csv"
    reply = await upload(client, sheet.read_bytes(), sheet.name, dry_run="true")
    assert reply["success"], reply["msg"]
    assert [item["args"] for item in reply["items"]] == [[["det1", "det2"]], [["det1"], "motor", -1, 1]]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("no_such_plan,,,", "not in the list of allowed plans"),
        ("scan,['det1'],,0.5", "unexpected keyword argument 'delay'"),
        ("count,,1,", "missing a required argument: 'detectors'"),
        ("count,\"['det1'], 1, 0.5, None, {}, 3, 4, 5\",,", "too many positional arguments"),
        ("count,\"['det1'], 1\",2,", "multiple values for argument 'num'"),
    ],
)
async def test_a_dry_run_finds_what_re_manager_would_refuse(client, line, said):
    reply = await upload(client, csv("count,['det1'],,", line), "plans.csv", dry_run="true")
    assert not reply["success"]
    assert said in reply["rows"][1]["msg"], reply
    assert reply["rows"][0]["success"]
    assert await queue_of(client) == []


async def test_position_and_sheet_are_form_fields(client):
    await upload(client, csv("count,['det1'],1,"), "plans.csv")
    reply = await upload(client, xlsx(["count", "['det2']"], ["count", "['det2']"]), pos="front", sheet="1")
    assert reply["success"], reply["msg"]
    assert [item["args"] for item in await queue_of(client)] == [[["det2"]], [["det2"]], [["det1"]]]
    assert "no sheet 'x'" in (await upload(client, xlsx(), sheet="x"))["msg"]


async def test_a_locked_queue_takes_plans_with_the_key_only(client):
    assert (await client.post("/api/lock", json={"lock_key": "k", "queue": True})).json()["success"]
    try:
        assert not (await upload(client, xlsx(*GOOD)))["success"]
        assert (await upload(client, xlsx(*GOOD), lock_key="k"))["success"]
    finally:
        assert (await client.post("/api/unlock", json={"lock_key": "k"})).json()["success"]


async def test_wrong_arguments_are_told(client):
    assert "spreadsheet" in (await client.post(PATH, data={"data_type": "x"}, files={"other": b"x"})).json()["detail"]
    reply = await client.post(PATH, files={"spreadsheet": ("a.csv", csv())}, data={"dry_run": "perhaps"})
    assert reply.status_code == 400
    assert "dry_run" in reply.json()["detail"]


async def test_a_caller_without_the_scope_uploads_nothing(anonymous):
    reply = await anonymous.post(PATH, files={"spreadsheet": ("a.csv", csv("count,,,"))})
    assert reply.status_code == 401


async def test_a_large_sheet_goes_in_several_batches_in_order(sanic_client, make_config):
    client = await started(sanic_client, make_config(spreadsheets={"batch_size": 2}))
    lines = [f"count,['det1'],{number}," for number in range(1, 6)]
    for fields in ({}, {"pos": "front"}, {"pos": "0"}):
        assert (await client.post("/api/queue/clear")).json()["success"]
        await upload(client, csv("count,['det2'],9,"), "plans.csv")
        reply = await upload(client, csv(*lines), "plans.csv", **fields)
        assert reply["success"], reply["msg"]
        numbers = [item["kwargs"]["num"] for item in await queue_of(client)]
        assert numbers == ([1, 2, 3, 4, 5, 9] if fields else [9, 1, 2, 3, 4, 5])
        assert len(reply["rows"]) == 5


@pytest.mark.parametrize(("row_count", "told"), [(10, [10]), (12, [2, 4, 6, 8, 10, 12])])
async def test_watchers_of_the_queue_see_the_progress(row_count, told, sanic_client, make_config):
    # What fits goes in one batch; what does not in fifths of it, so that reads get in between.
    client = await started(sanic_client, make_config(spreadsheets={"batch_size": 10}))
    seen = []
    async with client.stream("GET", "/api/events?topics=queue", headers={"Accept": "application/x-ndjson"}) as events:
        lines = events.aiter_lines()
        while "hello" not in await anext(lines):
            pass
        uploading = asyncio.ensure_future(upload(client, csv(*["count,['det1'],1,"] * row_count), "plans.csv"))
        async for line in lines:
            event = json.loads(line) if line.strip() else {}
            if event.get("type") == "upload":
                assert (event["data"]["total"], event["data"]["file"]) == (row_count, "plans.csv")
                seen.append(event["data"]["added"])
            if len(seen) == len(told):
                break
    await uploading
    assert seen == told


async def test_a_sheet_is_queued_whole_when_its_client_leaves(sanic_client, make_config):
    client = await started(sanic_client, make_config(spreadsheets={"batch_size": 5}))
    body = csv(*["count,['det1'],1,"] * 100)
    uploading = asyncio.ensure_future(upload(client, body, "plans.csv"))
    while not await queue_of(client):
        await asyncio.sleep(0.01)
    uploading.cancel()
    for _ in range(600):
        if len(await queue_of(client)) == 100:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(len(await queue_of(client)))


async def test_a_sheet_over_the_quota_is_refused(client, monkeypatch):
    services = client.app.ctx.services
    access = client.app.ctx.gate.access
    monkeypatch.setattr(client.app.ctx.gate, "access", WithQuota(access))
    reply = await client.post(PATH, files={"spreadsheet": ("a.csv", csv(*["count,['det1'],1,"] * 3))})
    assert reply.status_code == 429
    assert reply.json()["rule"] == "quota.batch_items"
    assert await queue_of(client) == []
    async with services.queue_edits.hold(0.1):  # Nobody has it.
        pass


class WithQuota:
    """The policy of the server, with a quota for everybody."""

    def __init__(self, policy):
        self.policy = policy

    def __getattr__(self, name):
        return getattr(self.policy, name)

    @property
    def version(self):
        return self.policy.version + 1

    def access_of(self, principal):
        return msgspec.structs.replace(self.policy.access_of(principal), quota=Quota(batch_items=2))


async def test_a_later_batch_that_is_refused_takes_the_earlier_ones_back(sanic_client, make_config):
    client = await started(sanic_client, make_config(spreadsheets={"batch_size": 2}))
    lines = ["count,['det1'],1,"] * 4 + ["nonsense,,,"]
    reply = await upload(client, csv(*lines), "plans.csv")
    assert not reply["success"]
    assert [row["row"] for row in reply["rows"] if not row["success"]] == [6]
    assert await queue_of(client) == []


async def started(sanic_client, config):
    client = await sanic_client(app_of(config))
    client.headers["Authorization"] = f"ApiKey {KEY}"
    await until_connected(client)
    assert (await client.post("/api/queue/clear")).json()["success"]
    return client


async def test_a_file_over_the_size_is_refused(sanic_client, make_config):
    client = await started(sanic_client, make_config(spreadsheets={"max_bytes": 100}))
    reply = await client.post(PATH, files={"spreadsheet": ("a.xlsx", xlsx(*GOOD))})
    assert reply.status_code == 413
    assert reply.json()["detail"].startswith("spreadsheet: ")


@pytest.mark.slow
async def test_hostile_files_do_not_hold_the_event_loop(client):
    bodies = [zip_bomb(300_000_000), many_rows(300_000), xlsx(*GOOD * 2000)]
    lags = []

    async def measure():
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.005)
            lags.append(time.monotonic() - before - 0.005)

    measuring = asyncio.ensure_future(measure())
    for body in bodies:
        await upload(client, body, dry_run="true")
    measuring.cancel()
    assert max(lags) < 1.0, max(lags)  # Generous: the machine may be busy. Typically below 0.1 s.


READERS = """
import csv, io

def spreadsheet_to_plan_list(*, spreadsheet_file, file_name, data_type, user):
    if data_type == "broken":
        raise ValueError("no energy column")
    if data_type != "wheel_xafs":
        return None
    lines = spreadsheet_file.read().decode().splitlines()
    return [{"name": "count", "args": [["det1"]], "meta": {"sample": line, "user": user}} for line in lines]
"""


@pytest.fixture
async def with_module(tmp_path, monkeypatch, sanic_client, make_config):
    monkeypatch.setattr(sys, "path", [*sys.path])
    names = []

    async def serve(name, text):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        names.append(name)
        settings = {"modules": [name], "paths": [str(tmp_path)], "required": True}
        return await started(sanic_client, make_config(extensions=settings, spreadsheets={"timeout_s": 2}))

    yield serve
    for name in names:
        sys.modules.pop(name, None)


async def test_the_function_of_todays_modules_reads_declines_and_refuses(with_module):
    client = await with_module("sheet_legacy", READERS)
    reply = await upload(client, b"Fe foil\nCu foil", "samples.txt", data_type="wheel_xafs")
    assert reply["success"], reply["msg"]
    items = await queue_of(client)
    assert [item["meta"]["sample"] for item in items] == ["Fe foil", "Cu foil"]
    assert items[0]["meta"]["user"] == "UNAUTHENTICATED_SINGLE_USER"
    assert (await upload(client, csv("count,['det1'],,"), "plans.csv"))["success"]
    reply = await upload(client, b"x", "a.csv", data_type="broken")
    assert reply["success"] is False
    assert reply["msg"] == "no energy column"
    assert (reply["file"], reply["reader"]) == ("a.csv", "sheet_legacy")


async def test_a_reader_is_chosen_by_ending_and_data_type(with_module):
    text = """
    def read(file):
        return [{"name": "count", "args": [[cell]]} for _, (cell, *_) in file.rows()[1:]]
    def hang(file):
        import time
        time.sleep(30)
    def register(host):
        host.add_spreadsheet_reader(read, endings=[".xlsx"], data_types=["detectors"])
        host.add_spreadsheet_reader(hang, data_types=["hang"])
    """
    client = await with_module("sheet_chosen", text)
    reply = await upload(client, xlsx(["det1"], ["det2"]), data_type="detectors")
    assert reply["success"], reply["msg"]
    assert [item["args"] for item in await queue_of(client)] == [[["det1"]], [["det2"]]]
    assert "is no plan name" in (await upload(client, csv("2,,,"), "a.csv", data_type="detectors"))["msg"]
    reply = await upload(client, b"x", "a.csv", data_type="hang")
    assert "took more than 2 s" in reply["msg"]
