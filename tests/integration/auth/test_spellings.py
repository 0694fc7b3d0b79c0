"""One person, however the login is typed; and what is so for databases that were there before."""

import stat

import pytest
from logins import SECRET_KEY
from sqlalchemy import create_engine, text

from sanic_qserver.auth.accounts import Accounts
from sanic_qserver.auth.building import build_logins
from sanic_qserver.auth.providers.openid import build_principal
from sanic_qserver.auth.storage.database import HEAD, Database
from sanic_qserver.config.logins import DatabaseConfig
from sanic_qserver.config.settings import load
from sanic_qserver.errors import NotAuthenticated
from sanic_qserver.policy.access.permissions import Permissions
from sanic_qserver.policy.access.windows import Clock
from sanic_qserver.policy.files.documents import Document
from sanic_qserver.sql import make_private
from sanic_qserver.structs.canonical import folded
from sanic_qserver.structs.identity import Credential, CredentialKind, Principal

PAM = {"kind": "pam", "name": "lab"}
SSO = {"kind": "oidc", "name": "sso", "issuer": "https://sso.example", "client_id": "us"}


class Now:
    now = 1_800_000_000.0

    def __call__(self):
        return self.now


def accounts_of(folder, *providers, clock=None, **auth):
    overrides = {
        "auth": {"secret_keys": [SECRET_KEY], "providers": list(providers or (PAM,)), **auth},
        "database": {"url": f"sqlite:///{folder}/x.sqlite"},
    }
    return Accounts(load(environment={}, overrides=overrides), clock or Now())


@pytest.fixture
async def old_database(folder):
    """A database of revision 0001, with spellings of one login at two providers, each with a session and a key."""
    database = Database(DatabaseConfig(), f"sqlite:///{folder}/x.sqlite")
    await database.upgrade("0001")
    await database.close()
    engine = create_engine(f"sqlite:///{folder}/x.sqlite")
    with engine.begin() as connection:
        people = [("lab", "JDoe"), ("lab", "jdoe"), ("lab", "JDOE"), ("lab", "Ann"), ("sso", "Ab"), ("sso", "ab")]
        for n, (provider, name) in enumerate(people):
            values = {"n": n, "uuid": f"uuid-{n}", "provider": provider, "name": name}
            for statement in (
                "INSERT INTO qserver_principals VALUES (:uuid, 0, '', 1.0, NULL)",
                "INSERT INTO qserver_identities VALUES (:n, :uuid, :provider, :name, '', '', '[]', '{}', 1.8e9 + :n)",
                "INSERT INTO qserver_sessions VALUES ('session-' || :n, :n, 1.0, 2e9, 0, 1.0, NULL)",
                "INSERT INTO qserver_api_keys VALUES ('hash-' || :n, 'first-' || :n, :n, '[]', '', 1.0, NULL, NULL)",
            ):
                connection.execute(text(statement), values)
    engine.dispose()


async def test_stored_spellings_become_one_with_all_their_sessions_and_keys(old_database, folder):
    accounts = accounts_of(folder, PAM, SSO)
    await accounts.open()
    everybody = await accounts.store.principals(0, 100)
    assert sorted(one.identities[0].id for one in everybody) == ["Ab", "Ann", "JDOE", "ab"], "sso tells spellings apart"
    (jdoe,) = [one for one in everybody if one.identities[0].id == "JDOE"]
    assert (len(jdoe.sessions), len(jdoe.api_keys)) == (3, 3)
    logged_in = await accounts.store.remember(Principal(name="jdoe", provider="lab"))
    assert (logged_in.principal.uuid, logged_in.principal.name) == (jdoe.uuid, "jdoe"), "the next login spells it"
    assert (await accounts.store.known(Principal(name="ANN", provider="lab"))).principal.name == "Ann"
    assert await accounts.store.known(Principal(name="AB", provider="sso")) is None
    await accounts.close()
    again = accounts_of(folder, PAM, SSO)
    await again.open()
    assert await again.database.checked_revision() == HEAD
    assert len(await again.store.principals(0, 100)) == 4
    await again.close()


def permissions(users):
    document = Document(source="x", text="", values={"users": users})
    return Permissions(document, folding=frozenset({"lab"}))


@pytest.mark.parametrize("spelling", ["jdoe", "JDoe", "JDOE", "ｊｄｏｅ"])
def test_a_user_who_is_shut_out_is_so_in_every_spelling(spelling):
    for listed in ("jdoe", "JDoe"):
        with pytest.raises(NotAuthenticated):
            permissions({listed: None, "x": {"roles": "user"}}).access_of(
                Principal(name=spelling, provider="lab", roles=("user",)), Clock()
            )


def test_a_policy_may_spell_typed_logins_as_it_likes_and_others_exactly():
    policy = permissions({"JDoe": {"roles": "user", "quota": {"queue_items": 3}}})
    for name in ("jdoe", "JDOE"):
        access = policy.access_of(Principal(name=name, provider="lab"), Clock())
        assert (access.roles, access.quota.queue_items) == (("user",), 3)
    with pytest.raises(NotAuthenticated):
        policy.access_of(Principal(name="jdoe", provider="sso"), Clock())


@pytest.mark.parametrize(("typed", "name"), [("JDoe", "jdoe"), ("Straße", "strasse"), ("ＪＤoe", "jdoe"), ("İx", "i̇x")])
def test_folding_is_stable(typed, name):
    assert folded(typed) == name == folded(folded(typed))


async def test_groups_and_claims_end_with_their_age_for_keys_and_sessions(folder):
    clock = Now()
    accounts = accounts_of(folder, clock=clock, tokens={"claims_max_age_s": 1000, "access_token_s": 1e6})
    await accounts.open()
    known = await accounts.store.remember(Principal(name="bob", provider="lab", groups=("g",), claims={"c": 1}))
    made = await accounts.keys.make(known, ("inherit",), None, None)
    _, tokens = await accounts.sessions.open(known)

    async def seen():
        accounts.credential_cache.forget()
        key = Credential(kind=CredentialKind.API_KEY, value=made.secret)
        token = Credential(kind=CredentialKind.BEARER, value=tokens.access_token)
        return [(who.groups, dict(who.claims)) for who in (
            await accounts.keys.identify(key), await accounts.sessions.identify(token))]  # fmt: skip

    assert await seen() == [(("g",), {"c": 1})] * 2
    clock.now += 1001
    assert await seen() == [((), {})] * 2
    await accounts.store.remember(Principal(name="bob", provider="lab", groups=("h",)))
    assert await seen() == [(("h",), {})] * 2, "the next login brings them anew"
    await accounts.close()


async def names_after_start(folder, **claims):
    overrides = {
        "auth": {"secret_keys": [SECRET_KEY], "providers": [{**SSO, "claims": claims}]},
        "database": {"url": f"sqlite:///{folder}/x.sqlite"},
    }
    logins = build_logins(load(environment={}, overrides=overrides), lambda _: None)
    await logins.open()
    await logins.close()
    provider = logins.ways["sso"].provider
    token = {"sub": "0815", "preferred_username": "jane"}
    return build_principal(token, provider.name_claim, provider._config.claims, "sso").name


async def test_people_of_an_openid_provider_are_known_by_sub_on_new_servers(folder):
    assert await names_after_start(folder) == "0815"


async def test_on_servers_that_were_there_they_keep_their_names_with_a_warning(old_database, folder, caplog):
    assert await names_after_start(folder) == "jane"
    assert "preferred_username" in caplog.text
    caplog.clear()
    assert await names_after_start(folder, name="sub") == "0815"
    assert "preferred_username" not in caplog.text


async def test_sqlite_files_are_their_owners_only(folder):
    accounts = accounts_of(folder)
    await accounts.open()
    await accounts.store.remember(Principal(name="bob", provider="lab"))
    files = [file for file in folder.iterdir() if file.is_file()]
    assert {"x.sqlite", "x.sqlite-wal", "x.sqlite.lock"} <= {file.name for file in files}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    await accounts.close()


def test_a_file_that_is_there_is_shut_to_others_and_not_to_its_group(folder):
    file = folder / "old.sqlite"
    file.touch()
    file.chmod(0o664)
    make_private(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o660


async def test_the_file_of_the_audit_table_is_its_owners_only(folder):
    from sanic_qserver.middleware.audit.table import SqlTable
    from sanic_qserver.structs.audit import AuditEntry

    table = SqlTable(f"sqlite:///{folder}/audit.db", 1, folder)
    table.keep(AuditEntry(at=1.0, outcome="done", endpoint="x"))
    await table.stop()
    assert stat.S_IMODE((folder / "audit.db").stat().st_mode) == 0o600
