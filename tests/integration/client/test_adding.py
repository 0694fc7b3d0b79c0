"""Adding: arguments from the plan's schema, files, and that nothing is added twice."""

import json

import pytest
from conftest import KEY
from qsctl import Qsctl, run
from sheets import GOOD, xlsx

from .conftest import serving_people

GOOD_LINE = {"item_type": "plan", "name": "count", "args": [["det1"]], "kwargs": {"num": 2}}


def queued(served):
    return served.client.get("/api/queue/get", headers=served.key).json()["items"]


def test_a_plan_is_added_with_arguments_of_its_schema(qsctl, served):
    (reply,) = qsctl.ok("add", "count", "det1", "det2", "--num", "5", "--json").records
    (item,) = queued(served)
    assert (item["args"], item["kwargs"]) == ([], {"detectors": ["det1", "det2"], "num": 5})
    assert list(item["kwargs"]) == ["detectors", "num"]  # In the plan's order, whatever was said first.
    assert item["item_uid"] == reply["item"]["item_uid"]
    qsctl.ok("add", "--pos", "front", "scan", "det1,det2", "motor", "-1", "1", "--num", "11")
    assert queued(served)[0]["args"] == [["det1", "det2"], "motor", -1, 1]
    assert queued(served)[0]["kwargs"] == {"num": 11}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["cuont", "det1"], "There is no plan 'cuont'"),
        (["count", "det1", "--num", "five"], "not of type integer"),
        (["count", "--num", "5"], "detectors missing"),
        ([], "Name a plan"),
    ],
)
def test_a_wrong_plan_or_type_ends_with_2_and_sends_nothing(qsctl, served, words, text):
    ran = qsctl("add", *words)
    assert ran.code == 2
    assert text in ran.err
    assert queued(served) == []


def test_what_only_the_manager_knows_to_be_wrong_ends_with_1(qsctl, served, tmp_path):
    file = tmp_path / "item.json"
    file.write_text(json.dumps({**GOOD_LINE, "args": [["det1"], 1, 2, 3, 4, 5]}))
    ran = qsctl("validate", "--file", file)
    assert ran.code == 1
    assert "Item 1, count" in ran.out
    assert qsctl("add", "--dry-run", "count", "det1").code == 0
    assert queued(served) == []


def test_the_same_key_adds_once(qsctl, served):
    for _ in range(2):
        qsctl.ok("add", "--key", "a-key-of-mine-1", "count", "det1")
    assert len(queued(served)) == 1


@pytest.mark.parametrize("name", ["items.ndjson", "items.json"])
def test_a_file_is_added_once_however_often_the_command_is_run(qsctl, served, tmp_path, name):
    items = [{**GOOD_LINE, "kwargs": {"num": number}} for number in range(1, 301)]
    file = tmp_path / name
    file.write_text("\n".join(map(json.dumps, items)) if name.endswith("ndjson") else json.dumps({"items": items}))
    records = qsctl.ok("add", "--file", file, "--json").records
    assert [one["line"] for one in records] == list(range(300))
    assert [item["kwargs"]["num"] for item in queued(served)] == list(range(1, 301))
    repeated = qsctl.ok("add", "--file", file)
    assert "added before" in repeated.err
    assert len(queued(served)) == 300
    # Also when the client has forgotten: the items say themselves what they are.
    elsewhere = json.loads((qsctl.folder / "qsctl" / next(iter(submissions(qsctl)))).read_text())
    assert len(elsewhere["results"]) == 300
    qsctl.ok("add", "--file", file, "--again")
    assert len(queued(served)) == 600


def submissions(qsctl):
    return [file.name for file in (qsctl.folder / "qsctl").glob("submission-*.json")]


def test_a_submission_that_was_begun_is_found_by_its_stamps(qsctl, served, tmp_path):
    file = tmp_path / "items.json"
    file.write_text(json.dumps([{**GOOD_LINE, "kwargs": {"num": number}} for number in range(1, 31)]))
    qsctl.ok("add", "--file", file)
    state = qsctl.folder / "qsctl" / submissions(qsctl)[0]
    # As if it was killed after the first lines were sent, and the server had been restarted since.
    state.write_text(json.dumps({"key": "k" * 20, "token": "gone", "lines": list(range(30)), "results": {}}))
    qsctl.ok("queue", "list")
    qsctl.ok("item", "remove", queued(served)[4]["item_uid"])
    qsctl.ok("add", "--file", file)
    assert sorted(item["kwargs"]["num"] for item in queued(served)) == list(range(1, 31))


def test_without_stamps_items_stay_as_they_are(qsctl, served, tmp_path):
    file = tmp_path / "items.json"
    file.write_text(json.dumps([GOOD_LINE]))
    qsctl.ok("add", "--no-stamp", "--file", file)
    assert "meta" not in queued(served)[0]


def test_a_refused_line_fails_alone_and_is_tried_again_when_the_command_is_repeated(qsctl, served, tmp_path):
    file = tmp_path / "items.ndjson"
    file.write_text("\n".join(json.dumps(one) for one in (GOOD_LINE, {"item_type": "plan", "name": "nonsense"})))
    for _ in range(2):
        ran = qsctl("add", "--file", file)
        assert ran.code == 1
        assert "Item 2 was refused" in ran.err
        assert "1 added, 1 refused" in ran.out
        assert len(queued(served)) == 1


@pytest.mark.parametrize("content", ["", "[]", "{", '["text"]', '{"a":1}\nnonsense'])
def test_a_file_that_holds_no_items_is_wrong_usage(qsctl, tmp_path, content):
    file = tmp_path / "items.ndjson"
    file.write_text(content)
    assert qsctl("add", "--file", file).code == 2
    assert qsctl("add", "--file", tmp_path / "missing.json").code == 2


def test_a_sheet_is_added_once(qsctl, served, tmp_path):
    file = tmp_path / "plans.xlsx"
    file.write_bytes(xlsx(*GOOD))
    qsctl.ok("validate", "--file", file)
    assert queued(served) == []
    for is_first in (True, False):
        ran = qsctl.ok("add", "--file", file)
        assert "2 added" in ran.out
        assert ("added before" in ran.err) is not is_first
        assert len(queued(served)) == 2


def test_a_bad_row_of_a_sheet_is_named_with_its_reason_and_nothing_is_added(qsctl, served, tmp_path):
    file = tmp_path / "plans.csv"
    file.write_text("name,args\ncount,\"['det1']\"\nnonsense,\"['det1']\"\n")
    ran = qsctl("add", "--file", file)
    assert ran.code == 1
    assert "Row 3 of plans.csv was refused" in ran.err
    assert "nonsense" in ran.err
    assert queued(served) == []


def test_an_item_is_shown_moved_updated_and_removed(qsctl, served):
    first, second = (qsctl.ok("add", "count", "det1", "--json").records[0]["item"]["item_uid"] for _ in range(2))
    assert "queued" in qsctl.ok("item", "show", second).out
    qsctl.ok("item", "move", second, "--to", "front")
    assert [item["item_uid"] for item in queued(served)] == [second, first]
    qsctl.ok("item", "move", second, "--after", first)
    assert qsctl("item", "move", second).code == 2
    qsctl.ok("item", "update", second, "num=7")
    assert queued(served)[1]["kwargs"]["num"] == 7
    qsctl.ok("item", "remove", first, second)
    assert queued(served) == []
    assert qsctl("item", "show", first).code == 1


@pytest.mark.slow
def test_an_item_is_waited_for(open_worker):
    uid = open_worker.ok("add", "count", "det1", "--json").records[0]["item"]["item_uid"]
    open_worker.ok("queue", "start")
    (state,) = open_worker.ok("item", "wait", uid, "--at-most", "60", "--json").records
    assert state["state"] == "completed"
    assert len(state["run_uids"]) == 1


REVIEWED = """
roles:
  reviewed: {inherits: observer, scopes_add: ["write:queue:edit:own"], review: automatic}
users:
  visitor: {roles: reviewed}
  staff: {roles: expert}
"""


@pytest.fixture
def reviewed(instrument, tmp_path, monkeypatch, capsys):
    """`qsctl` of somebody whose adds become proposals, and the server."""
    with serving_people(instrument, tmp_path, REVIEWED) as served:
        environment = {"QSERVER_HTTP_SERVER_URI": served.url, "QSERVER_API_KEY": "person:visitor"}
        yield Qsctl(tmp_path, monkeypatch, capsys, **environment), served


def test_what_was_proposed_before_a_crash_is_not_proposed_again_whatever_became_of_it(reviewed, tmp_path, monkeypatch):
    qsctl, _ = reviewed
    file = tmp_path / "items.json"
    file.write_text(json.dumps([{**GOOD_LINE, "kwargs": {"num": number}} for number in range(1, 91)]))
    assert "90 added, 0 refused, 90 of them proposed for review" in qsctl.ok("add", "--file", file).out
    proposals = qsctl.ok("proposals", "list", "--json").records
    assert sum(len(one["items"]) for one in proposals) == 90
    monkeypatch.setenv("QSERVER_API_KEY", "person:staff")
    qsctl.ok("proposals", "deny", proposals[0]["id"], "--reason", "not today", "--yes")
    qsctl.ok("proposals", "approve", proposals[1]["id"], "--yes")
    qsctl.ok("queue", "clear", "--yes")
    monkeypatch.setenv("QSERVER_API_KEY", "person:visitor")
    state = qsctl.folder / "qsctl" / submissions(qsctl)[0]
    # As if client and server were killed before an answer was kept.
    state.write_text(json.dumps({"key": "k" * 20, "token": "gone", "lines": list(range(90)), "results": {}}))
    assert "90 of them proposed for review" in qsctl.ok("add", "--file", file).out
    again = qsctl.ok("proposals", "list", "--state", "all", "--json").records
    assert {one["id"] for one in again} == {one["id"] for one in proposals}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("qsctl sta", "status"),
        ("qsctl add cou", "count"),
        ("qsctl add count de", "det1"),
        ("qsctl add count --n", "--num"),
        ("qsctl item show ", "UID"),
    ],
)
def test_shells_complete_verbs_plans_devices_parameters_and_uids(qsctl, reached, tmp_path, shell, words, found):
    if found == "UID":
        found = qsctl.ok("add", "count", "det1", "--json").records[0]["item"]["item_uid"]
    environment = {
        **reached,
        "QSERVER_API_KEY": KEY,
        "_QSCTL_COMPLETE": f"complete_{shell}",
        "_TYPER_COMPLETE_ARGS": words,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    assert found in run(tmp_path, environment=environment).out
