"""SQL databases: migrations of several purposes in one process."""

import asyncio
import logging

from sanic_qserver.auth.storage.database import MIGRATIONS as LOGINS
from sanic_qserver.middleware.audit.table import MIGRATIONS as AUDIT
from sanic_qserver.sql import build_engine, read_url


async def test_tables_that_are_made_or_brought_up_to_date_are_told_once(tmp_path, caplog):
    engine = build_engine(read_url(f"sqlite:///{tmp_path}/one.db", "x"), "x")
    told = []
    for revision in ("0001", "", ""):
        with caplog.at_level(logging.INFO, "sanic_qserver.database"):
            await LOGINS.upgrade(engine, "[database] url", revision)
        told.append([record.getMessage() for record in caplog.records if record.name == "sanic_qserver.database"])
        caplog.clear()
    await engine.dispose()
    assert told == [
        ["[database] url: its tables were made (revision 0001)"],
        [f"[database] url: its tables were brought from revision 0001 to {LOGINS.head}"],
        [],
    ]


async def test_two_upgrades_at_once_do_not_mix(tmp_path):
    wanted = [(migrations, f"sqlite:///{tmp_path}/{n}.db") for n in range(4) for migrations in (LOGINS, AUDIT)]
    engines = [build_engine(read_url(f"{url}-{m.version_table}", "x"), "x") for m, url in wanted]
    await asyncio.gather(*(m.upgrade(engine, "x") for (m, _), engine in zip(wanted, engines, strict=True)))
    for (migrations, _), engine in zip(wanted, engines, strict=True):
        async with engine.connect() as connection:
            assert await connection.run_sync(migrations.find_revision) == migrations.head
        await engine.dispose()
