"""Accounts in PostgreSQL, as several workers and replicas share them."""

import asyncio

import pytest
from conftest import app_of
from logins import log_in, settings

from sanic_qserver.auth.storage.database import HEAD, Database
from sanic_qserver.config.logins import DatabaseConfig

pytestmark = pytest.mark.slow


async def test_replicas_that_start_together_make_the_tables_once(url):
    replicas = [Database(DatabaseConfig(), url) for _ in range(4)]
    await asyncio.gather(*(replica.upgrade() for replica in replicas))
    assert await replicas[0].checked_revision() == HEAD
    for replica in replicas:
        await replica.close()


async def test_replicas_on_sqlite_make_the_tables_once(folder):
    async def replica():
        database = Database(DatabaseConfig(), f"sqlite:///{folder}/x.sqlite")
        await database.upgrade()
        await database.close()

    await asyncio.gather(*(asyncio.to_thread(lambda: asyncio.run(replica())) for _ in range(4)))
    check = Database(DatabaseConfig(), f"sqlite:///{folder}/x.sqlite")
    assert await check.checked_revision() == HEAD
    await check.close()


async def test_sessions_and_keys_are_shared_and_revoked_everywhere(url, sanic_client, make_config, folder):
    sections = {**settings(folder, tokens={"refresh_grace_s": 0}), "database": {"url": url}}
    here = await sanic_client(app_of(make_config(**sections)))
    there = await sanic_client(app_of(make_config(**sections)))
    tokens = await log_in(here, "bob")
    there.headers["Authorization"] = here.headers["Authorization"]
    assert (await there.get("/api/auth/whoami")).json()["identities"][0]["id"] == "bob"
    key = (await here.post("/api/auth/apikey", json={"expires_in": 60, "note": "'; DROP TABLE x"})).json()
    there.headers["Authorization"] = f"ApiKey {key['secret']}"
    assert (await there.get("/api/queue/get")).status_code == 200
    await here.delete("/api/auth/apikey", params={"first_eight": key["first_eight"]})
    start = asyncio.get_running_loop().time()
    while (await there.get("/api/queue/get")).status_code == 200:
        assert asyncio.get_running_loop().time() - start < 5
        await asyncio.sleep(0.02)
    body = {"refresh_token": tokens["refresh_token"]}
    both = await asyncio.gather(*(one.post("/api/auth/session/refresh", json=body, headers={"Authorization": ""})
                                  for one in (here, there)))  # fmt: skip
    assert sum(reply.status_code == 200 for reply in both) <= 2
    again = await there.post("/api/auth/session/refresh", json=body, headers={"Authorization": ""})
    assert again.status_code == 401
    for _ in range(3):
        wrong = {"username": "bob", "password": "wrong"}
        assert (await there.post("/api/auth/provider/toy/token", data=wrong)).status_code == 401
    ticket = (await log_in(here, "olga")) and (await here.post("/api/auth/ticket")).json()["ticket"]
    one_time = there.app.ctx.services.logins.one_time
    taken = await asyncio.gather(*(one_time.take("ticket", ticket) for _ in range(5)))
    assert sum(value is not None for value in taken) == 1


async def test_the_tables_are_those_of_the_migrations(url):
    """What the code thinks the tables are, and what the migrations make, is the same."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from sanic_qserver.auth.storage.tables import VERSION_TABLE, metadata

    database = Database(DatabaseConfig(), url)
    await database.upgrade()

    def differences(connection):
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        return compare_metadata(context, metadata)

    async with database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await database.close()
