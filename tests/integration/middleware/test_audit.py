"""The audit trail: who did what, when and from where; and no secrets."""

import asyncio
import dataclasses
import hashlib
import json
import os
import sqlite3

import pytest
from conftest import app_of, until_connected
from policy_people import as_, let_people_in
from sqlalchemy import create_engine

from sanic_qserver.middleware.audit.table import TABLE, SqlTable
from sanic_qserver.structs.audit import AuditGet

PLAN = {"name": "count", "args": [["det1"]], "item_type": "plan"}
POLICY = """
roles: {clerk: {scopes_set: ["admin:audit"]}}
users:
  ann: {roles: expert, displayed_name: Ann}
  bob: {roles: observer}
  clerk: {roles: clerk}
"""


@pytest.fixture
def audited(sanic_client, make_config, tmp_path):
    async def start(**audit):
        (tmp_path / "permissions.yaml").write_text(POLICY)
        config = make_config(
            policy={"permissions": str(tmp_path / "permissions.yaml")},
            audit={"file": str(tmp_path / "audit.jsonl"), **audit},
        )
        client = await sanic_client(app_of(config))
        client.file = tmp_path / "audit.jsonl"
        let_people_in(client.app)
        await until_connected(client)
        return client

    return start


def entries(server) -> list[dict]:
    return [json.loads(line) for line in server.file.read_text().splitlines()]


async def test_a_change_is_told_with_who_when_where_and_what(audited):
    server = await audited()
    reply = await server.post(
        "/api/queue/item/add", json={"item": PLAN}, headers={**as_("ann"), "X-Request-ID": "request-7"}
    )
    (entry,) = entries(server)
    assert entry.pop("at") > 1.7e9
    assert entry == {
        "outcome": "done",
        "endpoint": "POST /queue/item/add",
        "user": "ann",
        "provider": "test",
        "submitted_as": 'ann "Ann"',
        "address": "127.0.0.1",
        "key_id": "ann",
        "request_id": "request-7",
        "item_uids": [reply.json()["item"]["item_uid"]],
        "more": {"names": ["count"], "count": 1},
    }


async def test_reads_are_not_told_and_denials_are(audited):
    server = await audited()
    await server.get("/api/queue/get", headers=as_("ann"))
    assert entries(server) == []
    await server.post("/api/queue/clear", headers=as_("bob"))
    await server.get("/api/queue/get")
    await server.get("/api/queue/get", headers={"Authorization": "ApiKey a-wrong-secret"})
    told = [(e["outcome"], e["code"], e.get("user")) for e in entries(server)]
    assert told == [
        ("denied", "scope_missing", "bob"),
        ("denied", "not_authenticated", "UNAUTHENTICATED_PUBLIC"),
        ("denied", "invalid_api_key", None),
    ]
    assert "write:queue:edit" in entries(server)[0]["detail"]


async def test_what_re_manager_refuses_is_told(audited):
    server = await audited()
    await server.post("/api/queue/item/remove", json={"uid": "nobody"}, headers=as_("ann"))
    (entry,) = entries(server)
    assert entry["outcome"] == "refused"
    assert entry["item_uids"] == ["nobody"]
    assert entry["detail"]


async def test_neither_secrets_nor_scripts_are_told(audited):
    server = await audited()
    script = "password = 'hunter2'"
    await server.post("/api/script/upload", json={"script": script, "lock_key": "lock-secret"}, headers=as_("ann"))
    await server.post("/api/lock", json={"lock_key": "lock-secret", "queue": True}, headers=as_("ann"))
    await server.post("/api/unlock", json={"lock_key": "lock-secret"}, headers=as_("ann"))
    await server.get("/api/queue/get?api_key=a-wrong-secret")
    text = server.file.read_text()
    assert len(entries(server)) == 4
    for secret in ("hunter2", "lock-secret", "person:ann", "a-wrong-secret"):
        assert secret not in text
    told = entries(server)[0]["more"]["script"]
    assert told == {"sha256": hashlib.sha256(script.encode()).hexdigest(), "bytes": len(script)}


async def test_a_client_that_leaves_before_the_answer_is_told(audited):
    server = await audited()
    from sanic_qserver.api.call import Call
    from sanic_qserver.api.endpoint import Endpoint
    from sanic_qserver.middleware.audit.recording import audited as recorded
    from sanic_qserver.structs.identity import SINGLE_USER

    gate, services = server.app.ctx.gate, server.app.ctx.services

    async def never(_):
        await asyncio.sleep(60)

    row = Endpoint("POST", "/queue/start", None, "queue_start", serve=never, changes=True)
    row = dataclasses.replace(row, serve=recorded(row, never))
    call = Call(row, row.params(), gate.access.access_of(SINGLE_USER), "r", services, {}, {})
    task = asyncio.ensure_future(gate.serve(call, row.serve))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    told = entries(server)[0]
    assert (told["outcome"], told["code"], told["status"]) == ("unknown", "client_closed", 499)


async def test_the_batches_of_a_bulk_stream_are_told(audited):
    server = await audited()
    lines = "".join(json.dumps(PLAN) + "\n" for _ in range(3))
    reply = await server.post("/api/queue/item/add/stream", content=lines, headers=as_("ann"))
    assert reply.status_code == 200, reply.text
    told = [entry for entry in entries(server) if entry["endpoint"] == "POST /queue/item/add/batch"]
    assert sum(len(entry["item_uids"]) for entry in told) == 3


async def test_the_file_may_be_rotated_while_the_server_runs(audited):
    server = await audited()
    await server.post("/api/queue/clear", headers=as_("ann"))
    os.rename(server.file, f"{server.file}.1")
    await server.post("/api/queue/clear", headers=as_("ann"))
    assert len(entries(server)) == 1


async def test_one_who_hammers_a_shut_door_does_not_fill_the_disk(audited):
    server = await audited()
    gate = server.app.ctx.gate
    from sanic_qserver.errors import NotAuthenticated
    from sanic_qserver.middleware.audit.recording import record_denied

    for _ in range(5000):
        record_denied(gate.audit, server.app.ctx.rows[0], None, "10.0.0.1", "", NotAuthenticated("no"))
    assert len(entries(server)) <= 201


async def test_the_table_is_asked_over_http_by_those_who_may(audited, tmp_path):
    server = await audited(database=f"sqlite:///{tmp_path}/audit.db")
    uids = []
    for _ in range(3):
        reply = await server.post("/api/queue/item/add", json={"item": PLAN}, headers=as_("ann"))
        uids.append(reply.json()["item"]["item_uid"])
    await server.post("/api/queue/clear", headers=as_("bob"))
    assert (await server.get("/api/audit", headers=as_("ann"))).status_code == 403

    async def ask(query: str = ""):
        return (await server.get(f"/api/audit{query}", headers=as_("clerk"))).json()

    everything = await ask()
    assert [entry.get("user") for entry in everything["entries"]][1:] == ["bob", "ann", "ann", "ann"]
    assert [e["item_uids"] for e in (await ask("?user=ann&outcome=done&limit=2"))["entries"]] == [[uids[2]], [uids[1]]]
    page = await ask("?user=ann&outcome=done&limit=2")
    rest = await ask(f"?user=ann&outcome=done&limit=2&before_id={page['next_before_id']}")
    assert [e["item_uids"] for e in rest["entries"]] == [[uids[0]]]
    assert rest.get("next_before_id") is None
    assert len((await ask(f"?item_uid={uids[1]}"))["entries"]) == 1
    assert len((await ask("?outcome=denied"))["entries"]) == 2
    assert (await ask("?item_uid=%25"))["entries"] == []
    assert (await ask(f"?since={everything['entries'][0]['at'] + 60}"))["entries"] == []


async def test_without_a_table_the_trail_cannot_be_asked(audited):
    server = await audited()
    refused = await server.get("/api/audit", headers=as_("clerk"))
    assert refused.status_code == 404
    assert "[audit] database" in refused.json()["detail"]


async def test_a_table_that_is_away_delays_nobody_and_gets_the_entries_later(audited, tmp_path):
    target = tmp_path / "later" / "audit.db"
    server = await audited(database=f"sqlite:///{target}")
    assert (await server.post("/api/queue/clear", headers=as_("ann"))).json()["success"]
    assert (await server.get("/api/audit", headers=as_("clerk"))).status_code == 503
    target.parent.mkdir()
    for _ in range(50):
        reply = await server.get("/api/audit", headers=as_("clerk"))
        if reply.status_code == 200:
            break
        await asyncio.sleep(0.1)
    assert [entry["endpoint"] for entry in reply.json()["entries"]] == ["POST /queue/clear"]


async def test_a_flood_hides_no_denials_of_a_known_user_and_is_told_of(audited):
    server = await audited()
    for n in range(400):
        await server.get("/api/queue/get", headers={"Authorization": f"ApiKey wrong-{n}"})
        if n % 20 == 0:
            await server.post("/api/queue/clear", headers=as_("bob"))
    for _ in range(40):
        rest = [entry for entry in entries(server) if entry["code"] == "suppressed"]
        told = [entry for entry in entries(server) if entry["code"] == "invalid_api_key"]
        if rest and len(told) + sum(entry["more"]["suppressed"] for entry in rest) == 400:
            break
        await asyncio.sleep(0.1)
    assert len([entry for entry in entries(server) if entry.get("user") == "bob"]) == 20
    assert len(told) + sum(entry["more"]["suppressed"] for entry in rest) == 400
    assert rest[0]["more"]["addresses"] == {"127.0.0.1": rest[0]["more"]["suppressed"]}


async def test_one_address_does_not_use_up_what_is_recorded_of_another(audited):
    server = await audited()
    from sanic_qserver.errors import NotAuthenticated
    from sanic_qserver.middleware.audit.recording import record_denied

    audit, row = server.app.ctx.gate.audit, server.app.ctx.rows[0]
    for address in ("10.0.0.1", "2001:db8::1", "2001:db8::2"):
        for _ in range(300):
            record_denied(audit, row, None, address, "", NotAuthenticated("no"))
    record_denied(audit, row, None, "10.0.0.2", "", NotAuthenticated("no"))
    assert "10.0.0.2" in [entry.get("address") for entry in entries(server)]


async def test_what_was_left_out_is_in_the_table_after_the_end_too(audited, tmp_path):
    from sanic_qserver.middleware.audit.sinks import Audit
    from sanic_qserver.structs.audit import AuditEntry, AuditGet

    table = SqlTable(f"sqlite:///{tmp_path}/audit.db", 1, tmp_path)
    audit = Audit((await audited()).app.ctx.services.config.audit, table)
    for _ in range(100):
        audit.record(AuditEntry(at=1.0, outcome="denied", endpoint="GET /", address="10.0.0.1"))
    await audit.stop()
    newest, *_ = await table.find(AuditGet())
    assert newest.code == "suppressed"
    assert newest.more["suppressed"] > 0
    await table.stop()


async def test_a_table_of_before_the_migrations_is_taken_over(tmp_path):
    url = f"sqlite:///{tmp_path}/audit.db"
    engine = create_engine(url)
    TABLE.metadata.create_all(engine)
    engine.dispose()
    table = SqlTable(url, 1, tmp_path)
    assert await table.find(AuditGet()) == []
    await table.stop()
    found = sqlite3.connect(tmp_path / "audit.db")
    assert found.execute("SELECT version_num FROM qserver_audit_version").fetchall() == [("0001",)]
    found.close()
