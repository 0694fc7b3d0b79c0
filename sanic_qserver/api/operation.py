"""The rows for operators: the audit trail and the metrics."""

from typing import cast

import msgspec

from sanic_qserver.api.call import Call
from sanic_qserver.api.endpoint import Answer
from sanic_qserver.errors import NotFound
from sanic_qserver.structs.audit import AuditGet, AuditReply


async def audit_get(call: Call) -> bytes:
    """Entries of the table, the newest first. 404 when no table is configured: then the log has them."""
    params = cast("AuditGet", call.params)
    table = call.services.audit.table
    if table is None:
        raise NotFound("There is no audit table: set [audit] database. The log has every entry")
    entries = await table.find(params)
    following = entries[-1].id if len(entries) == params.limit else None
    return msgspec.json.encode(AuditReply(success=True, msg="", entries=entries, next_before_id=following))


async def metrics(call: Call) -> Answer:
    """What all workers have measured, in Prometheus' words."""
    return Answer(await call.services.metrics(), content_type="text/plain; version=0.0.4; charset=utf-8")
