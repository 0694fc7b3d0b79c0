"""The audit table in PostgreSQL."""

import asyncio
import time

import pytest

from sanic_qserver.middleware.audit.table import SqlTable
from sanic_qserver.structs.audit import AuditEntry, AuditGet

pytestmark = pytest.mark.slow


async def until_found(table, count, **wanted):
    """What is found, once it is as much as was written and is to be kept."""
    for _ in range(600):
        found = await table.find(AuditGet(**wanted))
        if len(found) == count:
            break
        await asyncio.sleep(0.05)
    return found


async def test_two_workers_write_and_either_is_asked(url, tmp_path):
    one, two = SqlTable(url, 30, tmp_path), SqlTable(url, 30, tmp_path)
    await asyncio.gather(one.start(), two.start())
    now = time.time()
    for number in range(40):
        entry = AuditEntry(
            at=now + number, outcome="done", endpoint="POST /queue/start", user="ann", item_uids=(f"uid-{number}",)
        )
        (one if number % 2 else two).keep(entry)
    old = AuditEntry(at=now - 40 * 86_400, outcome="done", endpoint="POST /queue/start", user="old")
    one.keep(old)
    found = await until_found(one, 40, user="ann")
    assert sorted(entry.item_uids[0] for entry in found) == sorted(f"uid-{number}" for number in range(40))
    assert len(await two.find(AuditGet(item_uid="uid-7"))) == 1
    await asyncio.gather(one.stop(), two.stop())


async def test_what_is_older_than_is_kept_is_deleted(url, tmp_path):
    table = SqlTable(url, 30, tmp_path)
    table.keep(AuditEntry(at=time.time() - 40 * 86_400, outcome="done", endpoint="x", user="old"))
    table.keep(AuditEntry(at=time.time(), outcome="done", endpoint="x", user="new"))
    await table.start()
    assert [entry.user for entry in await until_found(table, 1)] == ["new"]
    await table.stop()
