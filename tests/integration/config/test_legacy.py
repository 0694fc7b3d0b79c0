"""Configurations of the server that this one replaces: they start unchanged, and migrate."""

import io
import sys
from collections import namedtuple

import pytest
from conftest import app_of
from logins import log_in

from sanic_qserver.app import create_app
from sanic_qserver.cli import main
from sanic_qserver.config.logins import Ldap, Oidc, Pam
from sanic_qserver.config.settings import load
from sanic_qserver.errors import ConfigError

OLD = """
authentication:
  allow_anonymous_access: false
  secret_keys: ["SECRET-of-the-facility"]
  access_token_max_age: 600
  refresh_token_max_age: 36000
  session_max_age: 72000
  providers:
    - provider: toy
      authenticator: bluesky_httpserver.authenticators:DictionaryAuthenticator
      args:
        users_to_passwords:
          bob: bob-password
          alice: ${ALICE_PASSWORD}
          tom: tom-password
          cara: cara-password
api_access:
  policy: bluesky_httpserver.authorization:DictionaryAPIAccessControl
  args:
    roles:
      observer: {scopes_add: write:queue:edit, scopes_remove: [read:lock]}
    users:
      bob: {roles: [admin, expert]}
      alice: {roles: user, displayed_name: Alice Liddell, mail: alice@lab.example}
      tom: {roles: observer}
      cara: null
resource_access:
  policy: bluesky_httpserver.authorization:DefaultResourceAccessControl
  args: {default_group: test_user}
"""
MORE = """
qserver_zmq_configuration: {control_address: "tcp://beamline:60615", encoding: msgpack}
allow_origins: ["https://dashboard.example"]
uvicorn: {host: 0.0.0.0, port: 61000, workers: 1}
server_configuration: {custom_modules: []}
database: {uri: "sqlite:///DB", pool_size: 3}
"""
ENV = {"ALICE_PASSWORD": "alice-password"}


@pytest.fixture(autouse=True)
def _elsewhere(folder, monkeypatch):
    """The old server's database stands in the current folder, unless it is said where."""
    monkeypatch.chdir(folder)


@pytest.fixture
def old(folder):
    file = folder / "old.yml"
    file.write_text(OLD)
    return file


@pytest.fixture
async def server(old, folder, instrument, sanic_client):
    environment = {**instrument.environment, **ENV, "QSERVER_HTTP_SERVER_CONFIG": str(old)}
    overrides = {"database": {"url": f"sqlite:///{folder}/bluesky-httpserver.sqlite"}}
    return await sanic_client(app_of(load(environment=environment, overrides=overrides)))


async def test_people_log_in_as_before_with_the_same_roles(server):
    for name, roles in (("bob", ["admin", "expert"]), ("alice", ["user"]), ("tom", ["observer"])):
        await log_in(server, name, password=f"{name}-password")
        assert (await server.get("/api/auth/scopes")).json()["roles"] == roles
    scopes = (await server.get("/api/auth/scopes")).json()["scopes"]
    assert "write:queue:edit" in scopes
    assert "read:lock" not in scopes
    form = {"username": "cara", "password": "cara-password"}
    assert (await server.post("/api/auth/provider/toy/token", data=form)).status_code == 401


async def test_user_and_group_reach_the_manager_as_before(server):
    await log_in(server, "alice", password="alice-password")
    plan = {"item": {"name": "count", "args": [["det1"]], "item_type": "plan"}}
    reply = (await server.post("/api/queue/item/add", json=plan)).json()
    added = reply.get("item") or {}
    assert added["user"] == 'alice "Alice Liddell <alice@lab.example>"', reply
    assert added["user_group"] == "test_user"


async def test_the_anonymous_may_nothing_unless_allowed(server):
    assert (await server.get("/api/status")).status_code == 401


async def test_the_old_servers_database_stays_as_it_is(folder, old, instrument, sanic_client):
    import sqlite3

    file = folder / "bluesky-httpserver.sqlite"
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
        database.execute("INSERT INTO alembic_version VALUES ('722ff4e4fcc7')")
        database.execute("CREATE TABLE principals (id INTEGER PRIMARY KEY, uuid TEXT)")
    database.close()
    environment = {**instrument.environment, **ENV}
    overrides = {"database": {"url": f"sqlite:///{file}"}}
    client = await sanic_client(app_of(load(old, environment=environment, overrides=overrides)))
    await log_in(client, "bob", password="bob-password")
    assert (await client.get("/api/auth/principal")).status_code == 200


def test_a_folder_of_files_is_read_as_one(folder):
    (folder / "a.yml").write_text(OLD)
    (folder / "b.yaml").write_text(MORE.replace("DB", str(folder / "x.sqlite")))
    (folder / "notes.txt").write_text("not: [yaml")
    config = load(folder, environment=ENV)
    assert config.manager.control_address == "tcp://beamline:60615"
    assert config.manager.encoding == "msgpack"
    assert config.server.allow_origins == ("https://dashboard.example",)
    assert (config.server.host, config.server.port) == ("0.0.0.0", 61000)
    assert config.database.pool_size == 3
    assert config.auth.tokens.access_token_s == 600
    assert config.folder == folder
    (folder / "c.yml").write_text("uvicorn: {host: 127.0.0.1}")
    with pytest.raises(ConfigError, match="host"):
        load(folder, environment=ENV)


PROVIDER = """
authentication:
  providers:
    - provider: x
      authenticator: {}
      args: {}
"""


def provider_of(folder, path, args):
    file = folder / "provider.yml"
    file.write_text(PROVIDER.format(path, args))
    return load(file, environment={}).auth.providers[0]


def test_the_reference_servers_authenticators_are_understood(folder):
    ours = "bluesky_httpserver.authenticators:"
    ldap = provider_of(
        folder,
        ours + "LDAPAuthenticator",
        "{server_address: [a.example, b.example], server_port: 636, use_ssl: true, use_tls: false, "
        "bind_dn_template: 'uid={username},dc=x', allowed_groups: null, connect_timeout: 5, receive_timeout: 60}",
    )
    assert isinstance(ldap, Ldap)
    assert ldap.server_address == ("a.example", "b.example")
    assert not ldap.verify_certificate
    assert isinstance(provider_of(folder, ours + "PAMAuthenticator", "{service: queue}"), Pam)
    oidc = provider_of(
        folder,
        ours + "OIDCAuthenticator",
        "{client_id: us, client_secret: s, well_known_uri: 'https://sso.example/.well-known/openid-configuration'}",
    )
    assert isinstance(oidc, Oidc)
    assert oidc.issuer == "https://sso.example"


@pytest.mark.parametrize(
    ("path", "args", "fact"),
    [
        ("bluesky_httpserver.authenticators:DummyAuthenticator", "{}", "no counterpart"),
        ("bluesky_httpserver.authenticators:SAMLAuthenticator", "{}", "with entity_id"),
        ("bluesky_httpserver.authenticators:OIDCAuthenticator", "{client_id: us}", "well_known_uri"),
        ("bluesky_httpserver.authenticators:PAMAuthenticator", "{odd: 1}", "args.odd"),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(folder, path, args, fact):
    with pytest.raises(ConfigError, match=fact):
        provider_of(folder, path, args)


SERVER_BASED = """
authentication:
  providers:
    - {provider: pam, authenticator: "bluesky_httpserver.authenticators:PAMAuthenticator"}
api_access:
  policy: bluesky_httpserver.authorization:ServerBasedAPIAccessControl
  args: {instrument: SRX, server: access.example, port: 8001, update_period: 300, http_timeout: 3}
"""


def test_an_access_server_is_taken_over(folder, run):
    (folder / "old.yml").write_text(SERVER_BASED)
    create_app(load(folder / "old.yml", environment={}), name="served_as_it_stands")
    assert run("migrate", folder / "old.yml", folder / "new").returncode == 0
    config = load(folder / "new" / "config.toml", environment={})
    server = config.policy.access_server
    assert (server.url, server.instrument, server.update_period_s) == ("http://access.example:8001", "srx", 300)
    create_app(config, name="served")


WEAK = """
authentication:
  secret_keys: [SECRET, "${LONG_SECRET}"]
  providers:
    - {provider: toy, authenticator: "bluesky_httpserver.authenticators:DictionaryAuthenticator",
       args: {users_to_passwords: {alice: "${ALICE}"}}}
api_access:
  policy: bluesky_httpserver.authorization:DictionaryAPIAccessControl
  args: {users: {alice: {roles: [expert]}}}
"""


def test_a_secret_that_is_too_short_to_sign_is_told_and_left_out(folder, run):
    environment = {"ALICE": "a long enough password", "LONG_SECRET": "a long enough secret"}
    (folder / "old.yml").write_text(WEAK)
    done = run("migrate", folder / "old.yml", folder / "new")
    assert (done.returncode, "authentication.secret_keys: one has less than 8" in done.stdout) == (1, True)
    assert load(folder / "new" / "config.toml", environment=environment).auth.secret_keys == ("a long enough secret",)
    config = load(folder / "old.yml", environment=environment)
    assert config.auth.secret_keys == ("a long enough secret",)
    assert any("secret_keys" in note for note in config.notes)


NOBODY = """
api_access:
  policy: bluesky_httpserver.authorization:DictionaryAPIAccessControl
  args:
    roles: {user: null, expert: {scopes_remove: write:scripts}}
    users: {ann: {roles: [user], email: a@x.org}, bob: null}
"""


def test_a_role_that_is_null_has_no_scopes(folder):
    (folder / "old.yml").write_text(NOBODY)
    permissions = create_app(load(folder / "old.yml", environment={}), name="nobody").ctx.policies.access.permissions
    assert permissions.scopes["user"] == frozenset()
    assert "write:scripts" not in permissions.scopes["expert"]
    assert permissions.file.users["ann"].email == "a@x.org"
    assert "bob" in permissions.shut_out


def test_an_unknown_section_is_refused(folder):
    (folder / "x.yml").write_text("authentification: {}")
    with pytest.raises(ConfigError, match="authentification"):
        load(folder / "x.yml", environment={})


class OldStyle:
    """An authenticator as sites have written them."""

    def __init__(self, word):
        self.word = word

    async def authenticate(self, username, password):
        return username.lower() if password == self.word else None


async def test_an_authenticator_of_a_site_works_as_it_is(folder, instrument, sanic_client):
    text = PROVIDER.format(f"{__name__}:OldStyle", "{word: open-sesame}")
    file = folder / "site.yml"
    file.write_text(text + "api_access:\n  policy: bluesky_httpserver.authorization:DictionaryAPIAccessControl\n"
                           "  args: {users: {ali: {roles: user}}}\n")  # fmt: skip
    overrides = {"database": {"url": f"sqlite:///{folder}/x.sqlite"}}
    client = await sanic_client(app_of(load(file, environment=instrument.environment, overrides=overrides)))
    await log_in(client, "Ali", "x", password="open-sesame")
    assert (await client.get("/api/auth/whoami")).json()["identities"][0]["id"] == "ali"


Done = namedtuple("Done", "returncode stdout stderr")


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command of the command line in this process."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["sanic-qserver", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return Done(ended.value.code or 0, *capsys.readouterr())

    return run


def test_migrate_writes_the_same_configuration(old, folder, run):
    done = run("migrate", old, folder / "new")
    assert done.returncode == 0, done.stderr
    text = (folder / "new" / "config.toml").read_text()
    assert "bob-password" not in text
    assert "${ALICE_PASSWORD}" in text
    assert (folder / "new" / "config.toml").stat().st_mode & 0o077 == 0
    config = load(folder / "new" / "config.toml", environment=ENV)
    assert config.auth.tokens.session_s == 72000
    app = create_app(config, name="migrated")
    permissions = app.ctx.policies
    assert permissions is not None
    again = run("migrate", old, folder / "new")
    assert again.returncode == 2
    assert "left as it is" in again.stderr


DROPPED = """
uvicorn: {host: 127.0.0.1, ssl_ca_certs: ca.pem, ssl_keyfile_password: x, root_path: /qs, workers: 4}
server_configuration: {custom_module: [x], allow_origins: ["https://a.example"]}
authentication: {single_user_api_key: abc123, allow_anonymous_acces: true}
api_access:
  policy: bluesky_httpserver.authorization:BasicAPIAccessControl
  args: {roles: {user: {scope_add: [read:lock]}}}
metric: {prometheus: true}
"""


def test_migrate_lists_everything_that_it_could_not_carry_over(folder, run):
    (folder / "old.yml").write_text(DROPPED)
    done = run("migrate", folder / "old.yml", folder / "new")
    assert done.returncode == 1, done.stderr
    lost = {line.split(": ")[1] for line in done.stdout.splitlines() if line.startswith("Not carried over")}
    assert lost == {
        "uvicorn.ssl_ca_certs", "uvicorn.ssl_keyfile_password", "uvicorn.workers",
        "server_configuration.custom_module", "server_configuration.allow_origins",
        "authentication.allow_anonymous_acces", "api_access.args.roles.user.scope_add", "metric",
    }  # fmt: skip
    assert run("check", "--config", folder / "new" / "config.toml").returncode == 0


def test_what_is_not_carried_over_is_a_warning_of_the_old_file_too_and_of_tls_stops_the_start(folder, run):
    (folder / "old.yml").write_text("uvicorn: {workers: 4}")
    done = run("check", "--config", folder / "old.yml")
    assert done.returncode == 1
    assert "uvicorn.workers" in done.stdout
    (folder / "tls.yml").write_text("uvicorn: {ssl_certfile: c.pem, ssl_keyfile: k.pem, root_path: /qs/}")
    server = load(folder / "tls.yml", environment={}).server
    assert (server.tls_certificate, server.tls_key, server.root_path) == ("c.pem", "k.pem", "/qs")
    (folder / "tls.yml").write_text("uvicorn: {ssl_certfile: c.pem, ssl_ca_certs: ca.pem}")
    with pytest.raises(ConfigError, match="ssl_ca_certs"):
        load(folder / "tls.yml", environment={})


MANUAL_LDAP = """
authentication:
  providers:
    - provider: ldap
      authenticator: bluesky_httpserver.authenticators:LDAPAuthenticator
      args: {server_address: localhost, server_port: 1389, use_tls: false, use_ssl: false}
api_access:
  policy: bluesky_httpserver.authorization:DictionaryAPIAccessControl
  args: {users: {user01: {roles: [admin, expert]}, user02: {roles: user}}}
"""


def test_the_ldap_example_of_the_reference_manual_migrates_to_what_check_accepts(folder, run):
    (folder / "old.yml").write_text(MANUAL_LDAP)
    done = run("migrate", folder / "old.yml", folder / "new")
    assert done.returncode == 1
    assert "neither bind_dn_template nor lookup_dn" in done.stdout
    checked = run("check", "--config", folder / "new" / "config.toml")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_command_line_makes_lists_and_deletes_keys(folder, run):
    (folder / "config.toml").write_text(f'[database]\nurl = "sqlite:///{folder}/k.sqlite"\n')
    config = ("--config", folder / "config.toml")
    assert run("db", "check", *config).returncode == 1
    assert run("db", "upgrade", *config).returncode == 0
    assert run("db", "check", *config).stdout.startswith("OK")
    made = run("apikey", "create", "service:robot", "--scope", "read:queue", "--days", "2", "--note", "n", *config)
    assert made.returncode == 0, made.stderr
    secret = made.stdout.strip()
    listed = run("apikey", "list", "service:robot", *config).stdout
    assert secret[:8] in listed
    assert secret not in listed
    assert run("apikey", "delete", "service:robot", "--first-eight", secret[:8], *config).returncode == 0
    assert run("apikey", "list", "service:robot", *config).stdout == ""
    assert run("apikey", "list", "nobody", *config).returncode == 2
    assert run("apikey", "create", "service:robot", "--scope", "no:such", *config).returncode == 2


def test_the_command_line_hashes_a_password(run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("a-password\n"))
    assert run("hash-password").stdout.startswith("$argon2id$")
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    assert run("hash-password").returncode == 2
