"""Logins and profiles: where secrets are kept, where they go, and how they are refreshed."""

import io
import json
import os
import re
import time

import pytest
from conftest import KEY
from logins import PASSWORDS, dictionary, settings
from qsctl import Qsctl, run, start
from servers import Served, app_of


@pytest.fixture
def staff(make_config, tmp_path):
    """A server where people log in."""
    served = Served(app_of(make_config(**settings(tmp_path))))
    yield served
    served.close()


@pytest.fixture
def qsctl(tmp_path, monkeypatch, capsys):
    return Qsctl(tmp_path / "state", monkeypatch, capsys)


def log_in(qsctl, staff, monkeypatch, name="bob", *more):
    monkeypatch.setattr("sys.stdin", io.StringIO(PASSWORDS.get(name, name) + "\n"))
    return qsctl("login", staff.url, "--username", name, "--password-stdin", *more)


def kept(qsctl, name="default"):
    file = qsctl.folder / "qsctl" / f"profile-{name}.json"
    return file, json.loads(file.read_text())


def test_a_login_is_kept_for_its_owner_only_and_used(qsctl, staff, monkeypatch):
    ran = log_in(qsctl, staff, monkeypatch)
    assert ran.code == 0, ran.err
    file, profile = kept(qsctl)
    assert os.stat(file).st_mode & 0o777 == 0o600
    assert os.stat(file.parent).st_mode & 0o777 == 0o700
    assert profile["refresh_token"]
    assert profile["refresh_token"] not in ran.out + ran.err
    assert "bob" in qsctl.ok("whoami").out
    assert qsctl.ok("whoami", "--json").records[0]["roles"] == ["user"]


def test_an_expired_token_is_refreshed_by_itself(qsctl, staff, monkeypatch):
    log_in(qsctl, staff, monkeypatch)
    file, before = kept(qsctl)
    file.write_text(json.dumps({**before, "access_ends_at": 0}))
    qsctl.ok("whoami")
    assert kept(qsctl)[1]["refresh_token"] != before["refresh_token"]
    qsctl.ok("whoami")


def test_a_session_that_has_ended_says_so_and_ends_with_3(qsctl, staff, monkeypatch):
    log_in(qsctl, staff, monkeypatch)
    file, profile = kept(qsctl)
    headers = {"Authorization": f"Bearer {profile['access_token']}"}
    assert staff.client.post("/api/auth/logout", headers=headers).status_code == 200
    file.write_text(json.dumps({**profile, "access_ends_at": 0}))
    ran = qsctl("whoami")
    assert ran.code == 3
    assert "session has ended" in ran.err
    assert f"qsctl login {staff.url}" in ran.err


def test_logging_out_ends_the_session_and_forgets_the_login(qsctl, staff, monkeypatch):
    log_in(qsctl, staff, monkeypatch)
    file, profile = kept(qsctl)
    qsctl.ok("logout")
    assert not file.exists()
    headers = {"Authorization": f"Bearer {profile['access_token']}"}
    assert staff.client.get("/api/auth/whoami", headers=headers).status_code == 401


def test_a_wrong_password_ends_with_3_and_keeps_nothing(qsctl, staff, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("wrong\n"))
    ran = qsctl("login", staff.url, "--username", "bob", "--password-stdin")
    assert ran.code == 3
    assert "wrong" not in ran.out + ran.err
    assert qsctl.ok("profile", "list", "--json").records == []


def test_without_a_terminal_nobody_is_asked_for_a_password(qsctl, staff):
    ran = qsctl("login", staff.url)
    assert ran.code == 2
    assert "--password-stdin" in ran.err


def test_profiles_are_named_and_chosen(qsctl, staff, monkeypatch):
    log_in(qsctl, staff, monkeypatch, "alice", "--profile", "chief")
    log_in(qsctl, staff, monkeypatch, "bob", "--profile", "guest")
    assert "alice" in qsctl.ok("whoami", "--profile", "chief").out
    assert "bob" in qsctl.ok("whoami").out
    qsctl.ok("profile", "use", "chief")
    assert "alice" in qsctl.ok("whoami").out
    listed = {one["name"]: one["is_current"] for one in qsctl.ok("profile", "list", "--json").records}
    assert listed == {"chief": True, "guest": False}
    assert qsctl("whoami", "--profile", "nobody").code == 2


def test_a_login_goes_to_its_own_server_only(qsctl, staff, served, monkeypatch):
    log_in(qsctl, staff, monkeypatch)
    ran = qsctl("whoami", "--server", served.url)
    assert ran.code == 3  # The other server was shown no token at all.
    assert "Log in" in ran.err


def test_a_key_is_made_used_from_a_file_listed_and_deleted(qsctl, staff, monkeypatch, tmp_path):
    log_in(qsctl, staff, monkeypatch)
    made = qsctl.ok("apikey", "create", "--scope", "read:status", "--days", "1", "--note", "screen", "--json").records[
        0
    ]
    file = tmp_path / "key"
    file.write_text(made["secret"] + "\n")
    qsctl.ok("status", "--api-key-file", file)
    denied = qsctl("queue", "list", "--api-key-file", file)
    assert denied.code == 3
    assert [one["note"] for one in qsctl.ok("apikey", "list", "--json").records] == ["screen"]
    assert re.search(made["first_eight"] + r"  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ", qsctl.ok("apikey", "list").out)
    qsctl.ok("apikey", "delete", made["first_eight"])
    refused = qsctl("status", "--api-key-file", file)
    assert refused.code == 3
    assert made["secret"] not in refused.err


def test_an_answer_that_says_expired_is_refreshed_too_whatever_the_clock_here_says(qsctl, staff, monkeypatch):
    log_in(qsctl, staff, monkeypatch)
    before = kept(qsctl)[1]
    sessions = staff.app.ctx.services.logins.accounts.sessions
    for one in (sessions, sessions._tokens):
        monkeypatch.setattr(one, "_clock", lambda: time.time() + 1000)  # The server's clock is ahead of ours.
    qsctl.ok("whoami")
    assert kept(qsctl)[1]["refresh_token"] != before["refresh_token"]
    qsctl.ok("add", "queue_stop", "--dry-run")


@pytest.fixture
def strict(make_config, tmp_path):
    """A server that forgives nobody a refresh token that comes twice."""
    served = Served(app_of(make_config(**settings(tmp_path, tokens={"refresh_grace_s": 0}))))
    yield served
    served.close()


def test_commands_at_the_same_time_refresh_one_after_the_other(qsctl, strict, monkeypatch):
    log_in(qsctl, strict, monkeypatch)
    file, profile = kept(qsctl)
    file.write_text(json.dumps({**profile, "access_ends_at": 0}))
    processes = [start(qsctl.folder, "whoami") for _ in range(4)]
    told = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0, 0], told
    qsctl.ok("whoami")


def test_a_key_from_a_file_is_kept_in_place_of_a_login(qsctl, served, tmp_path):
    (tmp_path / "key").write_text(f"{KEY}\n")
    (tmp_path / "wrong").write_text("not-a-key-of-this-server")
    refused = qsctl("login", served.url, "--api-key-file", tmp_path / "wrong")
    assert refused.code == 3
    assert "not-a-key-of-this-server" not in refused.err
    assert qsctl.ok("profile", "list", "--json").records == []
    qsctl.ok("login", served.url, "--api-key-file", tmp_path / "key")
    file, _ = kept(qsctl)
    assert os.stat(file).st_mode & 0o777 == 0o600
    qsctl.ok("status")
    assert [one["credential"] for one in qsctl.ok("profile", "list", "--json").records] == ["key"]
    qsctl.ok("logout")
    assert not file.exists()
    for words in (("--api-key-file", tmp_path / "missing"), ("--api-key-file", "/dev/null")):
        assert qsctl("status", *words).code == 2


def test_the_environment_names_of_the_official_client_work(qsctl, served, monkeypatch):
    monkeypatch.setenv("QSERVER_HTTP_SERVER_URI", served.url)
    assert qsctl("status").code == 3  # Anonymous.
    monkeypatch.setenv("QSERVER_HTTP_SERVER_API_KEY", KEY)
    assert qsctl.ok("status", "--json").records[0]["manager_state"]


def test_where_there_are_several_ways_to_log_in_one_is_chosen(make_config, qsctl, served, tmp_path):
    ways = (dictionary(), {**dictionary(), "name": "guests"})
    several = Served(app_of(make_config(**settings(tmp_path, *ways))))
    try:
        asked = qsctl("login", several.url)
        assert asked.code == 2
        assert "toy, guests" in asked.err
        assert "--provider" in asked.err
        assert "There are: toy, guests" in qsctl("login", several.url, "--provider", "sso").err
        words = ("--provider", "guests", "--device-code")
        assert qsctl("login", several.url, *words).code == 2  # People give it a password.
    finally:
        several.close()
    none = qsctl("login", served.url)
    assert none.code == 2
    assert "--api-key-file" in none.err


def test_a_secret_stands_in_no_output_of_any_command(qsctl, staff, monkeypatch):
    log_in(qsctl, staff, monkeypatch)
    profile = kept(qsctl)[1]
    for words in (("whoami",), ("profile", "list"), ("apikey", "list"), ("status",), ("queue", "start"), ("logout",)):
        for form in ((), ("--json",)):
            ran = qsctl(*words, *form)
            for secret in ("access_token", "refresh_token"):
                assert profile[secret] not in ran.out + ran.err, words


# A backend of the real package `keyring`, chosen as people choose theirs. Those of systems need a desktop; those of
# `keyrings.alt` are files in clear, which rank too low to be preferred to ours.
BACKEND = """
import json, os, pathlib
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked, PasswordDeleteError

FILE = pathlib.Path(__file__).with_name("kept.json")

class InFile(KeyringBackend):
    priority = 5
    def _all(self):
        if os.environ.get("IS_LOCKED"):
            raise KeyringLocked("it is locked")
        return json.loads(FILE.read_text()) if FILE.exists() else {}
    def get_password(self, service, username):
        return self._all().get(f"{service}/{username}")
    def set_password(self, service, username, password):
        FILE.write_text(json.dumps({**self._all(), f"{service}/{username}": password}))
    def delete_password(self, service, username):
        rest = self._all()
        if rest.pop(f"{service}/{username}", None) is None:
            raise PasswordDeleteError("there is none")
        FILE.write_text(json.dumps(rest))
"""


def test_a_login_is_kept_in_the_keyring_refreshed_there_and_taken_out(qsctl, staff, tmp_path):
    (tmp_path / "qsctl_backend.py").write_text(BACKEND)
    (tmp_path / "password").write_text(PASSWORDS["bob"])
    environment = {"QSCTL_KEYRING": "", "PYTHON_KEYRING_BACKEND": "qsctl_backend.InFile", "PYTHONPATH": str(tmp_path)}

    def ran(*words, code=0, **more):
        done = run(qsctl.folder, *words, environment={**environment, **more.pop("also", {})}, **more)
        assert done.code == code, done.err
        return done

    def in_keyring():
        return json.loads(json.loads((tmp_path / "kept.json").read_text())["qsctl/default"])

    with (tmp_path / "password").open() as password:
        ran("login", staff.url, "--username", "bob", "--password-stdin", stdin=password)
    file, profile = kept(qsctl)
    assert (profile["in_keyring"], profile["access_token"], profile["refresh_token"]) == (True, "", "")
    before = in_keyring()
    file.write_text(json.dumps({**profile, "access_ends_at": 0}))
    assert "bob" in ran("whoami").out
    assert in_keyring()["refresh_token"] != before["refresh_token"]
    assert before["refresh_token"] not in file.read_text()
    locked = ran("whoami", code=3, also={"IS_LOCKED": "1"})
    assert "it is locked" in locked.err
    assert "Unlock it" in locked.err
    assert "Traceback" not in locked.err
    token = in_keyring()["access_token"]
    ran("logout")
    assert json.loads((tmp_path / "kept.json").read_text()) == {}
    assert not file.exists()
    assert staff.client.get("/api/auth/whoami", headers={"Authorization": f"Bearer {token}"}).status_code == 401
