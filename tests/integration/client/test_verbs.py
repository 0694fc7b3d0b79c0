"""Each verb, against a real server and RE Manager."""

import json
import os
import time

import pytest
from conftest import KEY
from qsctl import start

COUNT = {"item_type": "plan", "name": "count", "args": [["det1", "det2"]], "kwargs": {"num": 3}}
SLOW = {"item_type": "plan", "name": "count", "args": [["det1"]], "kwargs": {"num": 40, "delay": 0.5}}


def put(served, *items):
    reply = served.client.post("/api/queue/item/add/batch", json={"items": list(items)}, headers=served.key).json()
    assert reply["success"], reply
    return [item["item_uid"] for item in reply["items"]]


def test_the_status_is_shown_to_people_and_to_programs(qsctl):
    text = qsctl.ok("status").out
    assert "manager_state" in text
    assert "status_uid" not in text
    (record,) = qsctl.ok("--json", "status").records
    assert record["manager_state"] == "idle"
    assert "status_uid" in record


def test_the_queue_is_listed_with_its_arguments(qsctl, served):
    uid, other = put(served, COUNT, COUNT)
    listed = qsctl.ok("queue", "list").out
    assert uid in listed
    assert '["det1", "det2"] num=3' in listed
    records = qsctl.ok("queue", "list", "--json").records
    assert [(one["position"], one["item_uid"]) for one in records] == [(0, uid), (1, other)]


def test_the_queue_is_cleared_only_when_somebody_is_sure(qsctl, served):
    put(served, COUNT)
    asked = qsctl("queue", "clear")
    assert asked.code == 2
    assert "--yes" in asked.err
    assert len(qsctl.ok("queue", "list", "--json").records) == 1
    qsctl.ok("queue", "clear", "--yes")
    assert qsctl.ok("queue", "list", "--json").records == []


def test_the_mode_of_the_queue_is_set_and_reset(qsctl):
    assert qsctl.ok("queue", "mode", "--loop", "--json").records == [{"loop": True, "ignore_failures": False}]
    assert qsctl.ok("queue", "mode", "--default", "--json").records == [{"loop": False, "ignore_failures": False}]
    qsctl.ok("queue", "autostart", "off")
    assert qsctl("queue", "autostart", "perhaps").code == 2


def test_wrong_usage_is_told_to_programs_in_their_form(qsctl):
    for words in (["nonsense"], ["queue", "nonsense"], ["history", "--limit", "many"], ["item", "show"]):
        ran = qsctl(*words, "--json")
        assert ran.code == 2
        assert ran.error["exit_code"] == 2
        assert ran.out == ""


def test_what_the_manager_refuses_ends_with_1_and_its_words(qsctl):
    ran = qsctl("plan", "resume", "--json")
    assert ran.code == 1
    assert "not paused" in ran.error["text"]
    assert ran.error["reply"]["success"] is False


def test_plans_and_their_parameters_are_shown(qsctl):
    assert "count" in [one["name"] for one in qsctl.ok("plans", "--json").records]
    text = qsctl.ok("plans", "count").out
    assert "detectors" in text
    assert "(required)" in text
    unknown = qsctl("plans", "cuont")
    assert unknown.code == 2
    assert "Did you mean count" in unknown.err


def test_devices_are_listed(qsctl):
    assert "det1" in [one["name"] for one in qsctl.ok("devices", "--json").records]
    assert "readable" in qsctl.ok("devices").out


def test_a_lock_keeps_others_out_until_its_key_comes(qsctl, tmp_path):
    file = tmp_path / "lock.key"
    assert qsctl("lock").code == 2
    qsctl.ok("lock", "--queue", "--note", "alignment", "--lock-key-file", file)
    assert os.stat(file).st_mode & 0o777 == 0o600
    try:
        locked = qsctl("queue", "clear", "--yes")
        assert locked.code == 1
        assert "--lock-key-file" in locked.err
        qsctl.ok("queue", "clear", "--yes", "--lock-key-file", file)
    finally:
        qsctl.ok("unlock", "--lock-key-file", file)
    qsctl.ok("queue", "clear", "--yes")


@pytest.mark.slow
def test_a_plan_is_paused_resumed_and_stopped_and_stands_in_the_history(open_worker, served):
    qsctl = open_worker
    (uid,) = put(served, SLOW)
    qsctl.ok("queue", "start")
    qsctl.ok("wait", "re_state=running", "--at-most", "30")
    assert qsctl.ok("queue", "list", "--json").records[0]["is_running"]
    for verb in (("resume",), ("stop",)):
        qsctl.ok("plan", "pause", "--now")
        qsctl.ok("wait", "paused", "--at-most", "30")
        qsctl.ok("plan", *verb)
        if verb == ("resume",):
            qsctl.ok("wait", "re_state=running", "--at-most", "30")
    qsctl.ok("wait", f"item_finished:{uid}", "--at-most", "30")
    (record,) = qsctl.ok("history", "--json").records
    assert (record["item_uid"], record["result"]["exit_status"]) == (uid, "stopped")
    assert uid in qsctl.ok("history").out
    assert qsctl.ok("console", "--lines", "200").out


@pytest.mark.slow
@pytest.mark.parametrize(("verb", "status"), [("abort", "aborted"), ("halt", "halted")])
def test_a_plan_is_aborted_or_halted(open_worker, served, verb, status):
    (uid,) = put(served, SLOW)
    open_worker.ok("queue", "start")
    open_worker.ok("wait", "re_state=running", "--at-most", "30")
    open_worker.ok("plan", "pause", "--now")
    open_worker.ok("wait", "paused", "--at-most", "30")
    open_worker.ok("plan", verb)
    open_worker.ok("wait", f"item_finished:{uid}", "--at-most", "30")
    assert open_worker.ok("history", "--json").records[0]["result"]["exit_status"] == status
    open_worker.ok("wait", "idle", "--at-most", "30")


@pytest.mark.slow
def test_the_queue_stops_after_the_running_plan_unless_the_stop_is_taken_back(open_worker, served):
    qsctl = open_worker
    first, second, third = put(served, *[{**COUNT, "kwargs": {"num": 3, "delay": 0.7}}] * 3)
    qsctl.ok("queue", "start")
    qsctl.ok("wait", "re_state=running", "--at-most", "30")
    for words, is_pending in ((["stop"], True), (["stop", "--cancel"], False)):
        qsctl.ok("queue", *words)
        assert qsctl.ok("status", "--json").records[0]["queue_stop_pending"] is is_pending
    qsctl.ok("wait", f"item_finished:{first}", "--at-most", "30")
    qsctl.ok("wait", f"running_item_uid={second}", "--at-most", "30")
    qsctl.ok("queue", "stop")
    qsctl.ok("wait", "idle", "--at-most", "30")
    assert [one["item_uid"] for one in qsctl.ok("queue", "list", "--json").records] == [third]
    assert qsctl("queue", "stop").code == 1  # Nothing runs.


@pytest.mark.slow
def test_the_environment_is_updated_closed_and_destroyed(open_worker):
    qsctl = open_worker
    qsctl.ok("environment", "update")
    qsctl.ok("wait", "idle", "--at-most", "60")
    assert qsctl("environment", "open").code == 1  # It is.
    qsctl.ok("environment", "close")
    qsctl.ok("wait", "environment_closed", "--at-most", "60")
    for verb in ("close", "update"):
        assert qsctl("environment", verb).code == 1
    qsctl.ok("environment", "open")
    qsctl.ok("wait", "environment_open", "--at-most", "60")
    qsctl.ok("environment", "destroy", "--yes")
    qsctl.ok("wait", "environment_closed", "--at-most", "60")
    qsctl.ok("wait", "idle", "--at-most", "60")


def test_a_wait_that_is_not_met_in_time_ends_with_1(qsctl):
    ran = qsctl("wait", "items_in_queue=12345", "--at-most", "0.2")
    assert ran.code == 1
    assert "is not so" in ran.err
    assert qsctl("wait", "nonsense").code == 2


def test_nobody_without_a_terminal_is_asked(qsctl):
    assert qsctl("environment", "destroy").code == 2


def test_changes_are_followed_as_events(qsctl, served, tmp_path):
    environment = {"QSERVER_HTTP_SERVER_URI": served.url, "QSERVER_API_KEY": KEY}
    with start(tmp_path, "events", "queue", "--json", environment=environment) as process:
        try:
            seen = [json.loads(process.stdout.readline())]
            while seen[-1]["type"] != "snapshot":
                seen.append(json.loads(process.stdout.readline()))
            (uid,) = put(served, COUNT)
            while seen[-1]["type"] != "item_added":
                seen.append(json.loads(process.stdout.readline()))
            assert seen[-1]["data"]["item_uid"] == uid
        finally:
            process.terminate()
            process.communicate(timeout=20)


def until_watched(served, topic):
    """Until somebody watches: what happens before is not told to them."""
    state = served.app.ctx.services.live.state
    until = time.monotonic() + 30
    while state._watchers[topic] <= 0:
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("words", [("status", "--watch"), ("history", "--follow"), ("console", "--follow")])
def test_what_happens_is_followed_as_it_happens(open_worker, served, reached, tmp_path, words):
    environment = {**reached, "QSERVER_API_KEY": KEY}
    with start(tmp_path, *words, "--json", environment=environment) as process:
        try:
            if words[0] == "status":
                assert json.loads(process.stdout.readline())["manager_state"] == "idle"
            else:
                until_watched(served, words[0])
            (uid,) = put(served, COUNT)
            open_worker.ok("queue", "start")
            seen = json.loads(process.stdout.readline())
            while words[0] == "history" and seen["item_uid"] != uid:
                seen = json.loads(process.stdout.readline())
            assert seen
        finally:
            process.terminate()
            process.communicate(timeout=20)
    open_worker.ok("wait", f"item_finished:{uid}", "--at-most", "30")
    open_worker.ok("wait", "idle", "--at-most", "30")
