# ruff: noqa: E501  # the commands stand here as they are printed in the manual
"""Every HTTP command of the manual that this project started from, as printed there, against `demo --open`.

The tests run in order: they walk through the manual with one instrument, and look at RE Manager's own state.
"""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openpyxl
import pytest
from past_the_server import ask_manager
from servers import ServerProcess

pytestmark = pytest.mark.slow
COUNT = '{"name":"count", "args":[["det1", "det2"]], "item_type": "plan"}'


class Demo(ServerProcess):
    """The running demo, HTTPie in front of it and a direct line to RE Manager behind it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "demo", "--open")

    @property
    def address(self) -> str:
        """RE Manager's."""
        return re.search(r"RE Manager \((tcp://\S+)\)", self.text)[1]

    def ask(self, method, **params):
        """RE Manager's own answer, past the server."""
        return json.loads(ask_manager(self.address, method, **params))

    def wait(self, timeout_s=60, **wanted):
        """Wait until RE Manager's status is so."""
        self.wait_for(lambda: wanted.items() <= self.ask("status").items(), timeout_s)

    def shell(self, command, timeout_s=60):
        """What a command of the manual prints, run as typed into a terminal."""
        command = command.replace("localhost:60610", f"localhost:{self.port}")
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        primary, secondary = pty.openpty()
        try:
            done = subprocess.run(
                ["bash", "-c", command], stdin=secondary, capture_output=True, text=True, timeout=timeout_s,
                env={**os.environ, "PATH": path}, check=False,
            )  # fmt: skip
        finally:
            os.close(primary)
            os.close(secondary)
        assert not done.stderr, done.stderr
        return done.stdout

    def http(self, command):
        """The JSON that a command answers."""
        return json.loads(self.shell(command))

    def ok(self, command):
        """The same, of an operation that succeeded."""
        reply = self.http(command)
        assert reply["success"], reply
        return reply

    def queue(self):
        """RE Manager's queue: uids in order."""
        return [item["item_uid"] for item in self.ask("queue_get")["items"]]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    with Demo(tmp_path_factory.mktemp("manual")) as demo:
        yield demo


def test_ping_and_status(demo):
    assert demo.http("http GET http://localhost:60610")["msg"].startswith("RE Manager")
    assert demo.http("http GET http://localhost:60610/status")["manager_state"] == demo.ask("status")["manager_state"]


def test_the_environment_is_opened_closed_and_destroyed(demo):
    demo.ok("http POST http://localhost:60610/environment/open")
    demo.wait(worker_environment_exists=True, manager_state="idle")
    demo.ok("http POST http://localhost:60610/environment/close")
    demo.wait(worker_environment_exists=False, manager_state="idle")
    demo.ok("http POST http://localhost:60610/environment/open")
    demo.wait(worker_environment_exists=True, manager_state="idle")
    demo.ok("http POST http://localhost:60610/environment/destroy")
    demo.wait(worker_environment_exists=False, manager_state="idle")


def test_allowed_plans_and_devices_and_permissions(demo):
    plans = demo.ok("http POST http://localhost:60610/plans/allowed")["plans_allowed"]
    assert plans.keys() == demo.ask("plans_allowed", user_group="primary")["plans_allowed"].keys()
    assert "det1" in demo.ok("http POST http://localhost:60610/devices/allowed")["devices_allowed"]
    demo.ok("http GET http://localhost:60610/permissions/reload")


def test_plans_and_instructions_are_added_at_the_back(demo):
    add = "http POST http://localhost:60610/queue/item/add item:="
    demo.ok(f"{add}'{COUNT}'")
    demo.ok(f"""{add}'{{"name":"scan", "args":[["det1", "det2"], "motor", -1, 1, 10], "item_type": "plan"}}'""")
    demo.ok(
        f"""{add}'{{"name":"count", "args":[["det1", "det2"]], "kwargs":{{"num":10, "delay":1}}, "item_type": "plan"}}'"""
    )
    demo.ok(f"""{add}'{{"name":"queue_stop", "item_type": "instruction"}}'""")
    names = [item["name"] for item in demo.ask("queue_get")["items"]]
    assert names == ["count", "scan", "count", "queue_stop"]


@pytest.mark.parametrize(
    ("where", "index"),
    # Since the manual was written, RE Manager has come to count -1 as the back itself (seen with 0.0.25).
    [("""pos:='"front"'""", 0), ("""pos:='"back"'""", -1), ("pos:=2", 2), ("pos:=-1", -1), ("pos:=5", 5)],
)
def test_an_item_is_added_at_a_position(demo, where, index):
    reply = demo.ok(f"http POST http://localhost:60610/queue/item/add {where} item:='{COUNT}'")
    assert demo.queue()[index] == reply["item"]["item_uid"]


@pytest.mark.parametrize(("where", "offset"), [("before_uid", 0), ("after_uid", 1)])
def test_an_item_is_added_next_to_another(demo, where, offset):
    other = demo.queue()[1]
    reply = demo.ok(f"""http POST http://localhost:60610/queue/item/add {where}:='"{other}"' item:='{COUNT}'""")
    assert demo.queue()[1 + offset] == reply["item"]["item_uid"]


def test_a_batch_is_added(demo):
    before = len(demo.queue())
    demo.ok(
        """http POST http://localhost:60610/queue/item/add/batch items:='[{"name":"count", "args":[["det1"]], "item_type": "plan"}, {"name":"count", "args":[["det2"]], "item_type": "plan"}]'"""
    )
    assert len(demo.queue()) == before + 2


def test_a_spreadsheet_is_uploaded(demo, folder):
    book = openpyxl.Workbook()
    for row in (
        ("plan_name", "args", "num", "delay"),
        ("count", "['det1', 'det2']", 10, None),
        (None, None, None, None),
        ("'scan'", "['det1', 'det2'], 'motor', -1, 1", 10, None),
    ):
        book.active.append(row)
    book.save(folder / "sample_excel.xlsx")
    reply = demo.ok(
        f"http --form POST http://localhost:60610/queue/upload/spreadsheet spreadsheet@{folder}/sample_excel.xlsx"
    )
    assert [item["name"] for item in reply["items"]] == ["count", "scan"]
    last = demo.ask("queue_get")["items"][-1]
    assert last["args"] == [["det1", "det2"], "motor", -1, 1]
    assert last["kwargs"] == {"num": 10}


def test_the_queue_is_fetched(demo):
    items = demo.ok("http GET http://localhost:60610/queue/get")["items"]
    assert [item["item_uid"] for item in items] == demo.queue()


@pytest.mark.parametrize(
    ("command", "index"),
    [
        ("echo '{}' | http POST http://localhost:60610/queue/item/get", -1),
        ("""http POST http://localhost:60610/queue/item/get pos:='"back"'""", -1),
        ("""http POST http://localhost:60610/queue/item/get pos:='"front"'""", 0),
        ("http POST http://localhost:60610/queue/item/get pos:=-2", -2),
        ("http POST http://localhost:60610/queue/item/get uid:='<uid>'", 1),
    ],
)
def test_an_item_is_read(demo, command, index):
    uid = demo.queue()[index]
    assert demo.ok(command.replace("<uid>", f'"{uid}"'))["item"]["item_uid"] == uid


@pytest.mark.parametrize(
    ("command", "index"),
    [
        ("echo '{}' | http POST http://localhost:60610/queue/item/remove", -1),
        ("""http POST http://localhost:60610/queue/item/remove pos:='"back"'""", -1),
        ("""http POST http://localhost:60610/queue/item/remove pos:='"front"'""", 0),
        ("http POST http://localhost:60610/queue/item/remove pos:=-2", -2),
        ("http POST http://localhost:60610/queue/item/remove uid:='<uid>'", 1),
    ],
)
def test_an_item_is_removed(demo, command, index):
    before = demo.queue()
    uid = before[index]
    assert demo.ok(command.replace("<uid>", f'"{uid}"'))["item"]["item_uid"] == uid
    assert demo.queue() == [other for other in before if other != uid]


@pytest.mark.parametrize(
    ("arguments", "source", "destination"),
    [
        ("pos:=3 pos_dest:=5", 3, 5),
        ("uid:='<uid_source>' before_uid:='<uid_dest>'", 4, 1),
        ("uid:='<uid_source>' after_uid:='<uid_dest>'", 1, 4),
        ("pos:=3 after_uid:='<uid_dest>'", 3, 4),
        ("""uid:='<uid_source>' pos_dest:='"front"'""", 2, 0),
    ],
)
def test_an_item_is_moved(demo, arguments, source, destination):
    before = demo.queue()
    uid, other = before[source], before[destination]
    arguments = arguments.replace("<uid_source>", f'"{uid}"').replace("<uid_dest>", f'"{other}"')
    assert demo.ok(f"http POST http://localhost:60610/queue/item/move {arguments}")["item"]["item_uid"] == uid
    after = demo.queue()
    assert sorted(after) == sorted(before)
    assert after.index(uid) == destination


@pytest.mark.parametrize("replace", ["", "replace:=true "])
@pytest.mark.parametrize(
    "item",
    [
        '{"item_uid":"<existing-uid>", "name":"count", "args":[["det1", "det2"]], "item_type":"plan"}',
        '{"item_uid":"<existing-uid>", "name":"queue_stop", "item_type":"instruction"}',
    ],
)
def test_an_item_is_updated_or_replaced(demo, replace, item):
    uid = demo.queue()[0]
    command = f"http POST http://localhost:60610/queue/item/update {replace}item:='{item}'"
    reply = demo.ok(command.replace("<existing-uid>", uid))
    assert (reply["item"]["item_uid"] == uid) is (not replace)
    assert demo.queue()[0] == reply["item"]["item_uid"]


def test_the_loop_mode_is_switched(demo):
    demo.ok("""http POST http://localhost:60610/queue/mode/set mode:='{"loop": true}'""")
    assert demo.ask("status")["plan_queue_mode"]["loop"] is True
    demo.ok("""http POST http://localhost:60610/queue/mode/set mode:='{"loop": false}'""")
    assert demo.ask("status")["plan_queue_mode"]["loop"] is False


def test_the_queue_is_cleared(demo):
    demo.ok("http POST http://localhost:60610/queue/clear")
    assert demo.queue() == []


def test_an_item_is_executed_paused_resumed_and_stopped(demo):
    demo.ok("http POST http://localhost:60610/environment/open")
    demo.wait(worker_environment_exists=True, manager_state="idle")
    demo.ok(
        """http POST http://localhost:60610/queue/item/execute item:='{"name":"count", "args":[["det1", "det2"]], "kwargs":{"num":10, "delay":1}, "item_type": "plan"}'"""
    )
    demo.wait(re_state="running")
    demo.ok('http POST http://localhost:60610/re/pause option="deferred"')
    demo.wait(manager_state="paused")
    for kind in ("active", "open", "closed"):
        assert "run_list" in demo.ok(f"http GET http://localhost:60610/re/runs/{kind}")
    demo.ok("http POST http://localhost:60610/re/resume")
    demo.wait(manager_state="executing_queue")
    demo.ok('http POST http://localhost:60610/re/pause option="immediate"')
    demo.wait(manager_state="paused")
    demo.ok("http POST http://localhost:60610/re/stop")
    demo.wait(manager_state="idle")


@pytest.mark.parametrize(("path", "status"), [("re/abort", "aborted"), ("re_halt", "halted")])
def test_a_plan_of_the_queue_is_ended(demo, path, status):
    plan = '{"name":"count", "args":[["det1", "det2"]], "kwargs":{"num":10, "delay":1}, "item_type": "plan"}'
    demo.ok("http POST http://localhost:60610/queue/clear")
    demo.ok(f"http POST http://localhost:60610/queue/item/add item:='{plan}'")
    demo.ok("http POST http://localhost:60610/queue/start")
    demo.wait(manager_state="executing_queue")
    demo.wait(re_state="running")
    demo.ok("http POST http://localhost:60610/queue/stop")
    demo.ok("http POST http://localhost:60610/queue/stop/cancel")
    demo.ok('http POST http://localhost:60610/re/pause option="immediate"')
    demo.wait(manager_state="paused")
    demo.ok(f"http POST http://localhost:60610/{path}")
    demo.wait(manager_state="idle")
    history = demo.ok("http GET http://localhost:60610/history/get")["items"]
    assert history[-1]["result"]["exit_status"] == status
    assert history[-1]["item_uid"] == demo.ask("history_get")["items"][-1]["item_uid"]


def test_the_history_is_cleared(demo):
    demo.ok("http POST http://localhost:60610/history/clear")
    assert demo.ask("history_get")["items"] == []


def test_the_console_is_read_and_streamed(demo):
    assert "RE Environment" in demo.ok("http GET http://localhost:60610/console_output")["text"]
    assert demo.ok("http GET http://localhost:60610/console_output lines=500")["text"].count("\n") > 20
    command = "exec http --stream --ignore-stdin GET http://localhost:60610/stream_console_output"
    watcher = subprocess.Popen(
        ["bash", "-c", command.replace("60610", str(demo.port))],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )  # fmt: skip
    with ThreadPoolExecutor() as pool:
        message = pool.submit(
            watcher.stdout.read, 200
        )  # More than one message, less than opening the environment says.
        for _ in range(60):  # It is told of what happens once it watches, and nobody knows when that is.
            demo.ok("http GET http://localhost:60610/permissions/reload")
            if message.done():
                break
        watcher.terminate()
        text = message.result() + watcher.communicate(timeout=60)[0]
    first, _ = json.JSONDecoder().raw_decode(text)
    assert first.keys() == {"time", "msg"}
    demo.ok("http POST http://localhost:60610/environment/close")
    demo.wait(worker_environment_exists=False, manager_state="idle")


@pytest.mark.parametrize(
    "path",
    ["re/runs", "plans/existing", "devices/existing", "permissions/get"],
)
def test_further_reads_of_the_manual_answer(demo, path):
    verb = "POST" if path == "re/runs" else "GET"
    demo.ok(f"http {verb} http://localhost:60610/{path}")


def test_the_manager_is_killed_and_recovers(demo):
    answer = demo.http("http POST http://localhost:60610/test/manager/kill")
    assert answer["status"] == 408
    assert "Request timeout" in answer["detail"]
    until = time.monotonic() + 90
    while "manager_state" not in demo.http("http GET http://localhost:60610/status"):
        assert time.monotonic() < until
        time.sleep(0.5)


def test_the_manager_is_stopped(demo):
    demo.wait(manager_state="idle")
    demo.ok('http POST http://localhost:60610/manager/stop option="safe_on"')
    until = time.monotonic() + 60
    while "re-manager ended" not in demo.text:
        assert time.monotonic() < until, demo.text
        time.sleep(0.2)
    answer = demo.http('http POST http://localhost:60610/manager/stop option="safe_off"')
    assert answer["status"] == 503
    assert "connection" in answer["detail"]


def test_ending_the_demo_ends_all_of_it(demo):
    assert demo.stop(signal.SIGTERM) in (0, 143)
    with pytest.raises(AssertionError):
        demo.ask("status")
