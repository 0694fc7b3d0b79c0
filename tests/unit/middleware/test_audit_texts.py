"""The audit trail survives any text: what an entry holds was often sent by a stranger."""

import json

import pytest

from sanic_qserver.config.settings import AuditConfig
from sanic_qserver.middleware.audit.sinks import Audit
from sanic_qserver.middleware.audit.table import SqlTable
from sanic_qserver.structs.audit import AuditEntry, AuditGet

TEXTS = ["\udce5", "a\ud800b", "\x00", "a" * 100_000, "\x1b[31m", "\u2028", "'; DROP TABLE qserver_audit; --", "%s"]


def entry(text, **more):
    return AuditEntry(
        at=1.0, outcome="failed", endpoint=text, user=text, provider=text, submitted_as=text, address=text,
        key_id=text, code=text, detail=text, request_id=text, item_uids=(text,), more={text: [text, {"a": text}]},
        **more,
    )  # fmt: skip


@pytest.fixture
async def audit(tmp_path):
    table = SqlTable(f"sqlite:///{tmp_path}/audit.sqlite", 1, tmp_path)
    audit = Audit(AuditConfig(log=False, file=str(tmp_path / "audit.jsonl")), table)
    audit.path = tmp_path / "audit.jsonl"
    yield audit
    await audit.stop()


async def test_every_text_is_kept_in_file_and_table(audit):
    for text in TEXTS:
        audit.record(entry(text))
    assert len(await audit.table.find(AuditGet())) == len(TEXTS)
    assert len([json.loads(line) for line in audit.path.read_text().split("\n")[:-1]]) == len(TEXTS)


async def test_texts_fit_into_the_columns_of_a_database_that_minds(audit):
    audit.record(entry("\x00" + "a" * 1000))
    (found,) = await audit.table.find(AuditGet())
    assert "\x00" not in found.detail
    assert (len(found.user), len(found.key_id), len(found.request_id)) == (200, 20, 130)


async def test_an_entry_that_the_table_cannot_hold_does_not_stop_the_others(audit):
    for status in (200, 2**70, 201):
        audit.record(entry("a", status=status))
    assert {found.status for found in await audit.table.find(AuditGet())} == {200, 201}
    assert audit.table.dropped_count == 1
