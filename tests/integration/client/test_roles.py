"""What people of different roles get to do and to see, over TLS behind a real proxy with a path prefix."""

import json

import pytest
from policy_people import as_
from qsctl import Qsctl

from sanic_qserver.client import build_app

from .conftest import reaching, serving_people

POLICY = """
roles:
  nothing: {scopes: []}
  few: {inherits: user, user_group: test_user}
  proposer: {inherits: observer, scopes_add: ["write:proposals"]}
users:
  nobody: {roles: nothing}
  olga: {roles: observer}
  fred: {roles: few}
  ann: {roles: proposer}
  staff: {roles: expert}
"""
GOOD = {"item_type": "plan", "name": "count", "args": [["det1"]], "kwargs": {"num": 2}}
UID = "no-such-uid"


@pytest.fixture(scope="module")
def people(instrument, tmp_path_factory):
    """A server with people of many roles, and the variables by which it is reached."""
    folder = tmp_path_factory.mktemp("people")
    with serving_people(instrument, folder, POLICY) as served, reaching(served, folder) as variables:
        yield served, variables


@pytest.fixture
def as_person(people, tmp_path, monkeypatch, capsys):
    """`qsctl` of somebody; the queue is empty before and after."""
    served, variables = people

    def clear():
        assert served.client.post("/api/queue/clear", headers=as_("staff")).json()["success"]

    def make(name):
        return Qsctl(tmp_path, monkeypatch, capsys, QSERVER_API_KEY=f"person:{name}", **variables)

    clear()
    yield make
    clear()


READS = (
    "status", "status --watch", "queue list", "plans", "plans count", "devices", "history", "console", "events status",
    "wait idle", "add count det1", "validate count det1", f"item show {UID}", f"item wait {UID}",
    f"item update {UID} num=3", "proposals list", f"proposals show {UID}", f"proposals approve {UID} --yes",
    f"proposals deny {UID} --reason no --yes", f"proposals withdraw {UID} --yes", "mcp",
    "apikey create --scope read:status", "apikey delete 12345678",
)  # fmt: skip
CHANGES = (
    "queue start", "queue stop", "queue stop --cancel", "queue clear --yes", "queue mode --loop", "queue autostart on",
    "add count det1", "add queue_stop", "add --file {file}", "validate --file {file}", f"item move {UID} --to front",
    f"item remove {UID}", "environment open", "environment close", "environment destroy --yes", "environment update",
    "plan pause", "plan pause --now", "plan resume", "plan stop", "plan abort", "plan halt",
    "lock --lock-key-file {key}", "unlock --lock-key-file {key}", f"proposals approve {UID} --version 1",
    f"proposals deny {UID} --reason no --version 1", f"proposals withdraw {UID} --version 1",
)  # fmt: skip
# Who you are may be asked by everybody; the screen needs a terminal (tests/system/client/test_top.py).
FREE = {"login", "logout", "whoami", "profile list", "profile use", "apikey list", "top"}


def test_each_verb_is_tried_by_somebody_who_may_not():
    app = build_app()
    verbs = {command.name for command in app.registered_commands}
    verbs |= {
        f"{group.name} {one.name}"
        for group in app.registered_groups
        for one in group.typer_instance.registered_commands
    }
    groups = {group.name for group in app.registered_groups}
    tried = {
        words.split()[0] if words.split()[0] not in groups else " ".join(words.split()[:2]) for words in READS + CHANGES
    }
    assert tried == verbs - FREE


@pytest.mark.parametrize(
    ("person", "words"), [*(("nobody", one) for one in READS), *(("olga", one) for one in CHANGES)]
)
def test_who_lacks_the_scope_is_told_so_through_the_proxy_and_it_ends_with_3(as_person, tmp_path, person, words):
    (tmp_path / "items.json").write_text(json.dumps([GOOD]))
    (tmp_path / "lock.key").write_text("a-key")
    qsctl = as_person(person)
    ran = qsctl(*words.format(file=tmp_path / "items.json", key=tmp_path / "lock.key").split(), "--json")
    assert ran.code == 3, ran
    assert ran.out == ""
    assert ran.error["exit_code"] == 3
    assert ran.error["hint"]


def test_the_message_names_the_scope_and_says_whom_to_ask(as_person):
    ran = as_person("olga")("queue", "start")
    assert ran.code == 3
    assert "write:queue:control" in ran.err
    assert "qsctl whoami" in ran.err
    assert "Traceback" not in ran.err


def test_a_role_that_sees_few_plans_sees_and_adds_only_those(as_person):
    def names(person, verb):
        return {one["name"] for one in as_person(person).ok(verb, "--json").records}

    few, every = names("fred", "plans"), names("staff", "plans")
    assert few < every
    assert names("fred", "devices") < names("staff", "devices")
    assert few
    hidden = min(every - few)
    qsctl = as_person("fred")
    qsctl.ok("plans", min(few))
    for words in (("plans", hidden), ("add", hidden), ("validate", hidden)):
        ran = qsctl(*words)
        assert ran.code == 2, words
        assert "that you may run" in ran.err
    assert as_person("staff").ok("queue", "list", "--json").records == []


def test_proposals_are_shown_approved_and_denied(as_person, people):
    served, _ = people
    ids = []
    for title in ("one", "two"):
        body = {"items": [GOOD], "title": title}
        ids.append(served.client.post("/api/proposals", json=body, headers=as_("ann")).json()["proposal"]["id"])
    assert {one["id"] for one in as_person("ann").ok("proposals", "list", "--mine", "--json").records} == set(ids)
    assert as_person("ann")("proposals", "approve", ids[0], "--version", "1").code == 3
    qsctl = as_person("staff")
    assert {one["id"] for one in qsctl.ok("proposals", "list", "--json").records} == set(ids)
    shown = qsctl.ok("proposals", "show", ids[0]).out
    assert "one" in shown
    assert "count" in shown
    assert qsctl("proposals", "approve", ids[0]).code == 2  # Nobody was asked.
    assert qsctl("proposals", "approve", ids[0], "--version", "7").code == 1
    qsctl.ok("proposals", "approve", ids[0], "--version", "1")
    qsctl.ok("proposals", "deny", ids[1], "--reason", "not today", "--yes")
    assert qsctl("proposals", "deny", ids[1], "--reason", "again", "--version", "1").code == 1
    states = {one["id"]: one["state"] for one in qsctl.ok("proposals", "list", "--state", "all", "--json").records}
    assert states == {ids[0]: "queued", ids[1]: "denied"}
    assert [one["user"] for one in qsctl.ok("queue", "list", "--json").records] == ["ann"]
    assert "not today" in as_person("ann").ok("proposals", "show", ids[1]).out


def test_a_proposal_is_withdrawn_by_its_proposer_while_it_is_open(as_person, people):
    served, _ = people
    reply = served.client.post("/api/proposals", json={"items": [GOOD]}, headers=as_("ann"))
    uid = reply.json()["proposal"]["id"]
    assert as_person("staff")("proposals", "withdraw", uid, "--version", "1").code == 3  # It is not theirs.
    qsctl = as_person("ann")
    assert qsctl("proposals", "withdraw", uid).code == 2  # Nobody was asked.
    assert qsctl("proposals", "withdraw", uid, "--version", "7").code == 1
    assert qsctl.ok("proposals", "withdraw", uid, "--yes", "--json").records[0]["state"] == "withdrawn"
    assert qsctl("proposals", "withdraw", uid, "--version", "1").code == 1
    assert as_person("staff")("proposals", "approve", uid, "--version", "1").code == 1
