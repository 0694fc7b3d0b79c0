"""What is cached of credentials, for how long, and what is forgotten."""

import asyncio

import pytest
from conftest import app_of
from logins import SECRET_KEY, dictionary

from sanic_qserver.auth.accounts import Accounts
from sanic_qserver.auth.storage.database import is_away
from sanic_qserver.auth.tokens.credential_cache import CredentialCache
from sanic_qserver.config.settings import load
from sanic_qserver.errors import AccessTokenExpired, ConfigError, InvalidApiKey, NotAuthenticated
from sanic_qserver.structs.identity import Credential, CredentialKind, Principal

BOB = Principal(name="bob", provider="toy", groups=("g",), claims={"c": 1})


class Clock:
    def __init__(self):
        self.now = 1_700_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def config_of(folder, **auth):
    overrides = {
        "auth": {"secret_keys": [SECRET_KEY], "providers": [dictionary()], **auth},
        "database": {"url": f"sqlite:///{folder}/x.sqlite"},
    }
    return load(environment={}, overrides=overrides)


@pytest.fixture
async def accounts(folder, clock):
    accounts = Accounts(config_of(folder), clock)
    await accounts.open()
    yield accounts
    await accounts.close()


def key(secret):
    return Credential(kind=CredentialKind.API_KEY, value=secret)


def bearer(token):
    return Credential(kind=CredentialKind.BEARER, value=token)


async def test_groups_and_claims_of_the_last_login_come_with_a_token_and_a_key(accounts):
    known = await accounts.store.remember(BOB)
    _, tokens = await accounts.sessions.open(known)
    made = await accounts.keys.make(known, ("inherit",), None, 60)
    for who in (
        await accounts.sessions.identify(bearer(tokens.access_token)),
        await accounts.keys.identify(key(made.secret)),
    ):
        assert (who.name, who.provider, who.groups, who.claims) == ("bob", "toy", ("g",), {"c": 1})
        assert who.uuid == known.principal.uuid


async def test_a_remembered_token_or_key_still_ends_in_time(accounts, clock):
    known = await accounts.store.remember(BOB)
    _, tokens = await accounts.sessions.open(known)
    made = await accounts.keys.make(known, ("inherit",), None, 30)
    assert await accounts.keys.identify(key(made.secret))
    assert await accounts.sessions.identify(bearer(tokens.access_token))
    clock.now += 31
    accounts.credential_cache.heard()
    assert await accounts.keys.identify(key(made.secret)) is None
    clock.now += 900
    with pytest.raises(AccessTokenExpired):
        await accounts.sessions.identify(bearer(tokens.access_token))


def test_what_was_looked_up_before_a_revocation_is_not_remembered(clock):
    credential_cache = CredentialCache(clock)
    version = credential_cache.version
    credential_cache.forget()
    credential_cache.put("x", BOB, version)
    assert credential_cache.get("x") is None
    credential_cache.put("x", BOB, credential_cache.version)
    assert credential_cache.get("x") is BOB


def test_memory_is_not_trusted_when_the_database_was_not_heard_of(clock):
    credential_cache = CredentialCache(clock)
    credential_cache.put("x", BOB, credential_cache.version)
    clock.now += 11
    assert credential_cache.get("x") is None


async def test_what_is_over_is_purged(accounts, clock):
    from sqlalchemy import func, select

    from sanic_qserver.auth.storage import tables

    known = await accounts.store.remember(BOB)
    await accounts.sessions.open(known)
    await accounts.keys.make(known, ("inherit",), None, 30)
    async with accounts.attempts.reserve("toy", "bob", "127.0.0.1") as attempt:
        attempt.is_good = False
    await accounts.one_time.put("ticket", "x", {}, clock.now + 30)
    clock.now += 400 * 86_400
    await accounts.store.purge(3600)
    async with accounts.database.begin() as connection:
        for table in (tables.sessions, tables.api_keys, tables.attempts, tables.one_time):
            assert (await connection.execute(select(func.count()).select_from(table))).scalar_one() == 0, table
        assert (await connection.execute(select(func.count()).select_from(tables.identities))).scalar_one() == 1


async def test_two_first_logins_at_once_are_one_principal(accounts):
    known = await asyncio.gather(*(accounts.store.remember(BOB) for _ in range(5)))
    assert len({one.principal.uuid for one in known}) == 1


async def test_the_same_name_at_two_providers_is_two_principals(accounts):
    here = await accounts.store.remember(BOB)
    there = await accounts.store.remember(Principal(name="bob", provider="other"))
    assert here.principal.uuid != there.principal.uuid


def test_a_secret_is_made_once_and_for_its_owner_only(folder, clock):
    first = Accounts(config_of(folder, secret_keys=[]), clock)
    second = Accounts(config_of(folder, secret_keys=[]), clock)
    file = folder / "x.sqlite.secret"
    assert file.stat().st_mode & 0o077 == 0
    assert first.tokens.csrf("x") == second.tokens.csrf("x")
    assert [one.name for one in folder.iterdir()] == [file.name]


def test_several_replicas_must_be_given_the_secret(folder, clock):
    config = load(environment={}, overrides={"database": {"url": "postgresql://u@h/x"}})
    with pytest.raises(ConfigError, match="secret_keys"):
        Accounts(config, clock)


async def test_a_database_that_goes_away_during_the_start_names_the_setting(folder, clock, monkeypatch):
    accounts = Accounts(config_of(folder), clock)
    upgrade = accounts.database.upgrade

    def fail(*_):
        raise OSError("connection reset")

    async def upgrade_and_lose():
        await upgrade()
        monkeypatch.setattr(type(accounts.database.engine), "begin", fail)

    monkeypatch.setattr(accounts.database, "upgrade", upgrade_and_lose)
    with pytest.raises(ConfigError, match=r"\[database\] url .*does not answer"):
        await accounts.open()
    monkeypatch.undo()
    await accounts.database.close()


@pytest.mark.parametrize("url", ["no-url", "mysql://x/y", "://"])
def test_a_database_that_cannot_be_is_a_mistake(url):
    with pytest.raises(ConfigError, match="url"):
        app_of(load(environment={}, overrides={"database": {"url": url}, "auth": {"secret_keys": [SECRET_KEY]}}))


def test_a_server_without_logins_imports_nothing_for_them():
    import subprocess
    import sys

    program = (
        "import sys; from sanic_qserver.app import create_app; from sanic_qserver.config.settings import load;"
        "create_app(load(environment={}), name='x');"
        "print([m for m in ('sqlalchemy','alembic','joserfc','authlib','ldap3','argon2','pam') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


class Turnstile:
    """A provider that looks at more than the value."""

    def __init__(self):
        self.asked = 0

    async def identify(self, credential):
        self.asked += 1
        if credential.kind is CredentialKind.ANONYMOUS and credential.headers.get("x-badge") == "17":
            return Principal(name="bob", provider="badge", roles=("user",))
        return None


async def test_a_provider_that_looks_beyond_the_value_is_asked_each_time(client):
    turnstile = Turnstile()
    client.app.ctx.gate.providers.providers.append(turnstile)
    del client.headers["Authorization"]
    for _ in range(2):
        assert (await client.get("/api/auth/scopes", headers={"X-Badge": "17"})).json()["roles"] == ["user"]
        assert (await client.get("/api/auth/scopes")).json()["roles"] == []
    assert turnstile.asked == 4


def test_the_errors_that_clients_match_say_what_they_match():
    assert InvalidApiKey().detail == "Invalid API key"
    assert AccessTokenExpired().detail.startswith("Access token has expired")
    assert issubclass(InvalidApiKey, NotAuthenticated)


@pytest.mark.parametrize(("state", "expected"), [
    ("57P03", True), ("57P01", True), ("53300", True), ("08006", True), ("23505", False), ("22021", False),
    (None, False),
])  # fmt: skip
def test_a_postgresql_that_starts_stops_or_is_full_is_away(state, expected):
    from sqlalchemy.exc import DBAPIError

    class Refused(Exception):
        sqlstate = state

    assert is_away(DBAPIError("SELECT 1", None, Refused("the database system is starting up"))) is expected
