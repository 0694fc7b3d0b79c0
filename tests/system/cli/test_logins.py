"""What administrators do about logins on the command line, as they do it."""

import os
import shutil
import stat

import pytest
from commands import run
from conftest import free_port
from directory import PEOPLE, running_directory
from logins import CHEAP

HASH = CHEAP.hash("builder-2")


def written(folder, text, policy="users: {bob: {roles: user}}\n"):
    (folder / "permissions.yaml").write_text(policy)
    file = folder / "config.toml"
    file.write_text(f'[policy]\npermissions = "{folder}/permissions.yaml"\n{text}')
    return file


def dictionary(hash_=HASH):
    return f'[[auth.providers]]\nkind = "dictionary"\nname = "staff"\n[auth.providers.users]\nbob = "{hash_}"\n'


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def test_a_key_is_made_for_a_configuration_only(folder):
    environment = {"QSERVER_HTTP_SERVER_CONFIG": ""}
    for arguments in (("apikey", "create", "service:robot"), ("db", "upgrade")):
        done = run(*arguments, environment=environment)
        assert done.returncode == 2
        assert "--config" in done.stderr
    file = written(folder, "")
    done = run("apikey", "create", "service:robot", "--config", file)
    assert done.returncode == 2
    assert "keeps no accounts" in done.stderr
    assert names(folder) == ["config.toml", "permissions.yaml"]


def test_apikey_names_what_is_missing(folder):
    file = written(folder, dictionary())
    unknown = run("apikey", "create", "stuff:bob", "--config", file)
    assert unknown.returncode == 2
    assert "no provider 'stuff'" in unknown.stderr
    assert "staff" in unknown.stderr
    which = run("apikey", "delete", "staff:bob", "--config", file)
    assert which.returncode == 2
    assert "--first-eight" in which.stderr
    made = run("apikey", "create", "staff:bob", "--config", file)
    assert made.returncode == 0, made.stderr
    listed = run("apikey", "list", "staff:bob", "--config", file)
    assert listed.stdout.split("  ")[::2] == [made.stdout[:8], "all that its owner may"]
    gone = run("apikey", "delete", "staff:bob", "--first-eight", made.stdout[:8], "--config", file)
    assert gone.returncode == 0, gone.stderr


def test_a_list_of_keys_makes_no_database(folder):
    file = written(folder, dictionary())
    assert run("apikey", "list", "staff:bob", "--config", file).returncode == 2
    assert run("db", "check", "--config", file).returncode == 1
    assert names(folder) == ["config.toml", "permissions.yaml"]


def test_check_writes_nothing(folder):
    file = written(folder, f'{dictionary()}\n[audit]\nfile = "audit.jsonl"\ndatabase = "sqlite:///audit.db"\n')
    for arguments in (("check",), ("routes",), ("openapi",), ("explain", "GET", "/api/status")):
        done = run(*arguments, "--config", file)
        assert done.returncode in (0, 1), done.stderr
    assert names(folder) == ["config.toml", "permissions.yaml"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_check_says_where_the_server_could_not_write(folder):
    file = written(folder, f'{dictionary()}\n[database]\nurl = "sqlite:////proc/x.sqlite"\n')
    done = run("check", "--config", file)
    assert done.returncode == 2
    assert "/proc" in done.stderr


def test_check_finds_password_hashes_that_are_examples_or_cut_off(folder):
    bad = ("$argon2id$v=19$m=19456,t=2,p=1$…", HASH[:-5], HASH[:40], "$argon2id$")
    users = "".join(f'user{n} = "{hash_}"\n' for n, hash_ in enumerate(bad))
    done = run("check", "--config", written(folder, dictionary() + users))
    assert done.returncode == 1, done.stderr
    for n in range(len(bad)):
        assert f"the hash of 'user{n}'" in done.stdout
    assert "'bob'" not in done.stdout


@pytest.mark.parametrize("policy", ["users: {}\n", "users: {ann: {roles: user}, bob: null}\n"])
def test_check_says_that_nobody_who_logs_in_has_a_role(folder, policy):
    done = run("check", "--config", written(folder, dictionary(), policy))
    assert done.returncode == 1
    assert "role" in done.stdout


def test_a_database_that_is_away_is_one_line_without_the_password(folder):
    url = f"postgresql://user:s3cr@t/pa:ss?w%23@127.0.0.1:{free_port()}/name"
    text = f'[auth]\nsecret_keys = ["0123456789abcdef"]\n[database]\nurl = "{url}"\n'
    file = written(folder, text)
    for arguments in (("serve", "--port", free_port()), ("db", "check")):
        done = run(*arguments, "--config", file)
        assert done.returncode == 2
        errors = [line for line in done.stderr.splitlines() if "sanic-qserver: " in line]
        assert len(errors) == 1
        assert "127.0.0.1" in errors[0]
        assert "Traceback" not in done.stdout + done.stderr
        for part in ("s3cr", "t/pa", "pa:ss", "ss?w", "w#", "w%23"):
            assert part not in done.stdout + done.stderr


def test_check_online_asks_everything_and_tries_a_login(folder, tmp_path_factory, instrument):
    if shutil.which("slapd", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        assert not os.environ.get("REQUIRE_ALL_TESTS"), "slapd is not installed"
        pytest.skip("slapd is not installed")
    with running_directory(tmp_path_factory.mktemp("slapd"), free_port) as directory:
        ldap = f"""
[[auth.providers]]
kind = "ldap"
name = "lab"
server_address = "127.0.0.1"
server_port = {{port}}
use_tls = false
bind_dn_template = "uid={{{{username}}}},{PEOPLE}"
"""
        more = '\n[[auth.providers]]\nkind = "oidc"\nname = "sso"\nissuer = "http://127.0.0.1:1"\nclient_id = "x"\n'
        file = written(folder, ldap.format(port=directory.port), "users: {jdoe: {roles: user}}\n")
        environment = dict(instrument.environment)
        good = run("check", "--online", "--login", "lab:jdoe", "--config", file, environment=environment,
                   stdin="jane-password\n")  # fmt: skip
        assert good.returncode == 0, good.stdout + good.stderr
        for what in ("RE Manager", "database of logins", "provider lab", "login lab:jdoe"):
            assert f"ok: {what}" in good.stdout
        bad = run("check", "--online", "--login", "lab:jdoe", "--config",
                  written(folder, ldap.format(port=directory.port) + more, "users: {ann: {roles: user}}\n"),
                  environment=environment, stdin="jane-password\n")  # fmt: skip
        assert bad.returncode == 1
        assert "FAILED: provider sso" in bad.stdout
        assert "FAILED: login lab:jdoe: the password is right" in bad.stdout
        assert "jane-password" not in bad.stdout + bad.stderr
    assert not [name for name in names(folder) if "sqlite" in name]


def test_explain_takes_the_zone_of_the_policy_and_shows_the_window(folder):
    policy = """
time_zone: Pacific/Auckland
users:
  bob: {roles: user, from: 2026-06-01T08:00, until: 2026-06-01T16:00}
"""
    file = written(folder, "", policy)

    def explain(at, zone):
        return run("explain", "GET", "/api/status", "--user", "bob", "--at", at, "--config", file,
                   environment={"TZ": zone})  # fmt: skip

    assert explain("2026-06-01T09:00", "America/New_York").returncode == 0
    denied = explain("2026-06-01T17:00", "America/New_York")
    assert denied.returncode == 1
    for part in ("2026-06-01T08:00", "2026-06-01T16:00", "Pacific/Auckland"):
        assert part in denied.stdout
    assert explain("2026-05-31T21:00+00:00", "UTC").returncode == 0


def test_files_that_a_command_makes_are_their_owners_only(folder):
    file = written(folder, dictionary())
    assert run("db", "upgrade", "--config", file).returncode == 0
    made = [one for one in folder.iterdir() if "sqlite" in one.name]
    assert made
    assert {stat.S_IMODE(one.stat().st_mode) for one in made} == {0o600}
