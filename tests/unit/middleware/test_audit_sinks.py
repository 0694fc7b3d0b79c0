"""When the audit trail looks at a reply."""

import asyncio
import logging
import multiprocessing
import time

import msgspec
import pytest

from sanic_qserver.api.call import Call
from sanic_qserver.api.endpoint import Endpoint
from sanic_qserver.config.settings import AuditConfig
from sanic_qserver.middleware.audit import recording, sinks
from sanic_qserver.middleware.audit.budget import OF_AN_ADDRESS, DenialBudget
from sanic_qserver.middleware.audit.sinks import Audit
from sanic_qserver.structs.audit import AuditEntry
from sanic_qserver.structs.identity import PUBLIC, Access
from sanic_qserver.structs.requests import NoParams


class Services:
    """What a layer needs of the services."""

    def __init__(self, audit):
        self.audit = audit


@pytest.mark.parametrize(
    ("config", "level", "is_decoded"),
    [
        (AuditConfig(log=False), logging.INFO, False),
        (AuditConfig(), logging.WARNING, False),
        (AuditConfig(), logging.INFO, True),
    ],
)
async def test_a_reply_is_decoded_only_when_an_entry_goes_somewhere(config, level, is_decoded, monkeypatch, caplog):
    caplog.set_level(level, "sanic_qserver.audit")
    decoded = []
    monkeypatch.setattr(recording, "_decode_reply", lambda reply: decoded.append(reply) or recording._Reply())

    async def serve(_):
        return b'{"success": true}'

    row = Endpoint("POST", "/queue/start", None, "queue_start", serve=serve, changes=True)
    access = Access(principal=PUBLIC, roles=(), scopes=frozenset(), user="x", user_group="y")
    call = Call(row, NoParams(), access, "id", Services(Audit(config)), {}, {})
    assert await recording.audited(row, serve)(call) == b'{"success": true}'
    assert bool(decoded) is is_decoded


def _write(file, name, lines):
    audit = Audit(AuditConfig(log=False, file=file))
    for number in range(lines):
        audit._write(msgspec.json.encode([name, number, "x" * (50 if number % 3 else 20_000)]).decode())


def test_workers_write_whole_lines_into_one_file_and_lose_none_when_it_is_rotated(tmp_path):
    file = tmp_path / "audit.log"
    file.touch()
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(str(file), name, 400)) for name in range(3)]
    for writer in writers:
        writer.start()
    for number in range(5):
        file.rename(tmp_path / f"audit.log.{number}")
        file.touch()
        time.sleep(0.02)
    for writer in writers:
        writer.join()
    lines = [line for part in tmp_path.glob("audit.log*") for line in part.read_bytes().splitlines()]
    told = sorted(tuple(msgspec.json.decode(line)[:2]) for line in lines)
    assert told == [(name, number) for name in range(3) for number in range(400)]


async def test_what_was_left_out_is_told_also_when_no_denial_follows(monkeypatch, tmp_path):
    monkeypatch.setattr(sinks, "_TELL_AFTER_S", 0.01)
    now = [1.0]
    audit = Audit(AuditConfig(log=False, file=str(tmp_path / "audit")))
    audit._budget = DenialBudget(clock=lambda: now[0])
    for now[0] in (1.0, 2.0):  # The rest of the second one is there before what tells of the first one is due.
        for _ in range(OF_AN_ADDRESS + 5):
            audit.record(AuditEntry(at=1.0, outcome="denied", endpoint="GET /", address="10.0.0.1"))
    await asyncio.sleep(0.05)
    now[0] = 3.0
    async with asyncio.timeout(10):
        while (tmp_path / "audit").read_text().count('"code":"suppressed"') < 2:
            await asyncio.sleep(0.01)
    told = [msgspec.json.decode(line) for line in (tmp_path / "audit").read_text().splitlines()]
    assert [entry["more"]["suppressed"] for entry in told if entry.get("code") == "suppressed"] == [5, 5]
    await audit.stop()
