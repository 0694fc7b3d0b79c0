"""What of a call goes into the audit trail."""

import asyncio
import functools
import hashlib
import sys
import time
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from sanic_qserver.api.call import Call
from sanic_qserver.api.endpoint import Answer, Endpoint, Serve, Stream, get_json
from sanic_qserver.errors import GatewayError, ManagerTimeout
from sanic_qserver.manager.bodies import Body
from sanic_qserver.manager.client.timeline import find_trace_id
from sanic_qserver.middleware.audit.sinks import Audit
from sanic_qserver.structs.audit import AuditEntry, Outcome
from sanic_qserver.structs.identity import Access

MOST = 500  # Items named in one entry.


class _Item(Struct, frozen=True):
    item_uid: str = ""


class _Reply(Struct, frozen=True):
    """What is looked at in a reply, leniently."""

    success: bool = True
    msg: str = ""
    item: _Item | None = None
    items: tuple[_Item, ...] = ()
    task_uid: str | None = None


_decode_reply = msgspec.json.Decoder(_Reply).decode


def audited(_: Endpoint, serve: Serve) -> Serve:
    """The layer AUDITED: what a call did, or that it was denied. Raises what serving raises."""

    @functools.wraps(serve)
    async def serve_audited(call: Call) -> bytes | Body | Answer:
        audit = call.services.audit
        try:
            answer = await serve(call)
        except GatewayError as error:
            record_failed(audit, call.endpoint, call, error)
            raise
        except BaseException:
            record_abandoned(audit, call.endpoint, call)
            raise
        if audit.has_sinks:  # Else the reply need not be decoded.
            record_served(audit, call.endpoint, call, answer)
        return answer

    return serve_audited


def denials_audited(_: Endpoint, serve: Serve) -> Serve:
    """Around every row that is not AUDITED: that a call was denied while it was served."""

    @functools.wraps(serve)
    async def serve_denied(call: Call) -> bytes | Body | Answer:
        try:
            return await serve(call)
        except GatewayError as error:
            record_failed(call.services.audit, call.endpoint, call, error)
            raise

    return serve_denied


def record_served(audit: Audit, row: Endpoint | Stream, call: Call, answer: bytes | Body | Answer) -> None:
    """A call that changes something was answered."""
    try:
        reply = _decode_reply(get_json(answer))
    except msgspec.DecodeError:  # Not JSON, or not RE Manager's form.
        reply = _Reply()
    status = answer.status if isinstance(answer, Answer) else 200
    outcome: Outcome = ("done" if reply.success else "refused") if status < 400 else "failed"
    replied = [item.item_uid for item in (reply.item, *reply.items) if item is not None]
    more = _more(call)
    if reply.task_uid:
        more["task_uid"] = reply.task_uid
    detail = "" if reply.success else reply.msg[:500]
    _record(audit, row, call, outcome, status=status, detail=detail, more=more, replied=replied)


def record_failed(audit: Audit, row: Endpoint | Stream, call: Call, error: GatewayError) -> None:
    """A call was refused or failed while it was served. What changes nothing is recorded only when it was denied."""
    outcome = judge_outcome(error)
    if row.changes or outcome == "denied":
        _record(
            audit, row, call, outcome,
            status=error.status, code=error.code, detail=error.detail[:500], more=_more(call),
        )  # fmt: skip


def record_denied(
    audit: Audit, row: Endpoint | Stream, access: Access | None, address: str, request_id: str, error: GatewayError
) -> None:
    """The gate said no."""
    principal = access.principal if access else None
    audit.record(
        AuditEntry(
            at=time.time(),
            outcome="denied",
            endpoint=_endpoint(row),
            user=principal.name if principal else "",
            provider=principal.provider if principal else "",
            key_id=principal.key_id if principal else "",
            address=address,
            status=error.status,
            code=error.code,
            detail=error.detail[:500],
            request_id=request_id,
            more=_trace(),
        )
    )


def judge_outcome(error: GatewayError) -> Outcome:
    """How a call ended that raised this."""
    if isinstance(error, ManagerTimeout):
        return "unknown"
    return "denied" if error.status in (401, 403, 429) else "failed"


def record_abandoned(audit: Audit, row: Endpoint | Stream, call: Call) -> None:
    """The client left, or something unforeseen happened, before there was an answer: RE Manager may have done it.

    For use where the exception is handled. A deadline cancels a request with a reason, a client that leaves without.
    """
    error = sys.exception()
    is_client_gone = isinstance(error, asyncio.CancelledError) and not error.args
    code, status = ("client_closed", 499) if is_client_gone else ("no_answer", 500)
    _record(audit, row, call, "unknown", code=code, status=status, more=_more(call))


def _record(
    audit: Audit, row: Endpoint | Stream, call: Call, outcome: Outcome, *, replied: Iterable[str] = (), **said: Any
) -> None:
    access = call.access
    principal = access.principal
    audit.record(
        AuditEntry(
            at=time.time(),
            outcome=outcome,
            endpoint=_endpoint(row),
            user=principal.name,
            provider=principal.provider,
            submitted_as=access.user,
            address=call.address,
            key_id=principal.key_id,
            request_id=call.request_id,
            item_uids=_uids(call.params, replied),
            **said,
        )
    )


def _endpoint(row: Endpoint | Stream) -> str:
    return f"{getattr(row, 'verb', 'GET')} {row.path}"


def _uids(params: Any, replied: Iterable[str]) -> tuple[str, ...]:
    """The items that a call names, and those that the reply names, each once."""
    named = [getattr(params, name, None) for name in ("uid", "item_uid", "before_uid", "after_uid")]
    named += getattr(params, "uids", None) or ()
    item = getattr(params, "item", None)
    named += [item.get("item_uid")] if isinstance(item, dict) else []
    uids = (uid for uid in (*named, *replied) if isinstance(uid, str) and uid)
    return tuple(dict.fromkeys(uids))[:MOST]


def _trace() -> dict[str, Any]:
    """The trace that the request belongs to, where there are traces."""
    trace_id = find_trace_id()
    return {"trace_id": trace_id} if trace_id else {}


def _more(call: Call) -> dict[str, Any]:
    """Names of plans, a script's hash and length, the login that was tried, what an option said. Never a secret."""
    params: Any = call.params
    more = _trace()
    items = getattr(params, "items", None)
    items = items if isinstance(items, list) else [getattr(params, "item", None)]
    names = [str(item.get("name", ""))[:100] for item in items if isinstance(item, dict)]
    if names:
        more["names"] = list(dict.fromkeys(names))[:20]
        more["count"] = len(names)
    if isinstance(script := getattr(params, "script", None), str):
        body = script.encode("utf-8", "surrogatepass")
        more["script"] = {"sha256": hashlib.sha256(body).hexdigest(), "bytes": len(body)}
    for name in ("username", "option", "enable", "environment", "queue", "size"):
        if isinstance(value := getattr(params, name, None), (str, bool, int)):
            more[name] = value[:200] if isinstance(value, str) else value
    if call.path_args:
        more["path"] = dict(call.path_args)
    return more
