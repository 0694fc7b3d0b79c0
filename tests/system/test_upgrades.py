"""From one version's database to the next one's, and from SQLite to PostgreSQL: nothing in it is lost."""

import asyncio

import pytest
from commands import run
from sqlalchemy import create_engine, inspect, text

from sanic_qserver.auth.storage.copying import copy_all
from sanic_qserver.auth.storage.database import HEAD, Database
from sanic_qserver.config.logins import DatabaseConfig
from sanic_qserver.errors import ConfigError

EARLIER = tuple(f"{number:04}" for number in range(1, int(HEAD)))
# One of each, in columns that all revisions have.
ROWS = (
    "INSERT INTO qserver_principals (uuid, is_service, note, created_at) VALUES ('p', '0', '', 1)",
    (
        "INSERT INTO qserver_identities (principal_uuid, provider, name, displayed_name, email, groups, claims)"
        " VALUES ('p', 'staff', 'alice', 'Alice', '', '[\"g\"]', '{}')"
    ),
    (
        "INSERT INTO qserver_sessions (uuid, identity_id, created_at, expires_at, generation, refreshed_at)"
        " VALUES ('s', 1, 1, 9e9, 3, 1)"
    ),
    (
        "INSERT INTO qserver_api_keys (hash, first_eight, identity_id, scopes, created_at)"
        " VALUES ('h', 'first-88', 1, '[\"read:status\"]', 1)"
    ),
)
HELD = text(
    "SELECT i.name, s.uuid, s.generation, k.first_eight FROM qserver_identities i"
    " JOIN qserver_sessions s ON s.identity_id = i.id JOIN qserver_api_keys k ON k.identity_id = i.id"
)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def place(request, folder):
    """The URL of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{folder}/logins.sqlite"
    return request.getfixturevalue("url")


async def upgraded(url, revision=""):
    database = Database(DatabaseConfig(), url)
    await database.upgrade(revision)
    return database


async def read(database, look):
    async with database.engine.connect() as connection:
        return await connection.run_sync(look)


def columns(connection):
    seen = inspect(connection)
    return {
        (table, one["name"]): (str(one["type"]), one["nullable"] or one["default"] is not None)
        for table in seen.get_table_names()
        for one in seen.get_columns(table)
    }


@pytest.mark.parametrize("revision", EARLIER)
async def test_what_an_earlier_version_kept_is_there_after_the_upgrade(place, revision):
    database = await upgraded(place, revision)
    async with database.begin() as connection:
        for row in ROWS:
            await connection.execute(text(row))
    await database.upgrade()
    assert await database.checked_revision() == HEAD
    async with database.begin() as connection:
        assert (await connection.execute(HELD)).all() == [("alice", "s", 3, "first-88")]
    await database.close()


@pytest.mark.parametrize("revision", EARLIER)
async def test_a_revision_takes_nothing_away_from_servers_of_the_version_before(folder, revision):
    database = await upgraded(f"sqlite:///{folder}/x.sqlite", revision)
    before = await read(database, columns)
    await database.upgrade(f"{int(revision) + 1:04}")
    after = await read(database, columns)
    assert {name: after.get(name) for name in before} == before
    added = {name: fills_itself for name, (_, fills_itself) in after.items() if name not in before}
    tables = {table for table, _ in before}
    assert all(fills_itself for (table, _), fills_itself in added.items() if table in tables), added
    await database.close()


def test_an_older_version_refuses_tables_of_a_newer_one(folder):
    file = folder / "config.toml"
    file.write_text(f'[database]\nurl = "sqlite:///{folder}/x.sqlite"\n')
    assert run("db", "upgrade", "--config", file).returncode == 0
    engine = create_engine(f"sqlite:///{folder}/x.sqlite")
    with engine.begin() as connection:
        connection.execute(text("UPDATE qserver_alembic_version SET version_num = '9999'"))
    engine.dispose()
    done = run("db", "upgrade", "--config", file)
    assert (done.returncode, "9999" in done.stderr) == (2, True), done.stderr
    assert run("db", "check", "--config", file).returncode == 1


async def filled(folder):
    database = await upgraded(f"sqlite:///{folder}/old.sqlite")
    async with database.begin() as connection:
        for row in ROWS:
            await connection.execute(text(row))
    return database


@pytest.mark.slow
async def test_accounts_move_from_sqlite_to_postgresql_and_new_ones_are_numbered_on(folder, url):
    old, new = await filled(folder), Database(DatabaseConfig(), url)
    copied = await copy_all(old, new)
    assert copied["qserver_sessions"] == copied["qserver_api_keys"] == 1
    async with new.begin() as connection:
        assert (await connection.execute(HELD)).all() == [("alice", "s", 3, "first-88")]
        await connection.execute(text(ROWS[0].replace("'p'", "'q'")))
        await connection.execute(text(ROWS[1].replace("'p'", "'q'").replace("alice", "bob")))
    with pytest.raises(ConfigError, match="accounts in it already"):
        await copy_all(old, new)
    await asyncio.gather(old.close(), new.close())


async def test_a_database_of_an_older_revision_is_not_copied(folder):
    old = await upgraded(f"sqlite:///{folder}/old.sqlite", EARLIER[0])
    new = Database(DatabaseConfig(), f"sqlite:///{folder}/new.sqlite")
    with pytest.raises(ConfigError, match="db upgrade"):
        await copy_all(old, new)
    await asyncio.gather(old.close(), new.close())


async def test_a_name_of_a_database_that_is_not_there_makes_none(folder):
    old = Database(DatabaseConfig(), f"sqlite:///{folder}/wrong-name.sqlite")
    new = Database(DatabaseConfig(), f"sqlite:///{folder}/new.sqlite")
    with pytest.raises(ConfigError, match="revision none"):
        await copy_all(old, new)
    assert not list(folder.iterdir())
    await asyncio.gather(old.close(), new.close())
