"""The row `/queue/upload/spreadsheet`: read a file, show its plans to the hooks, add them, report every row.

A sheet that cannot be read answers as RE Manager refuses: 200, `success` false, and the reason. Either all plans are
added or none: large sheets go to RE Manager in several batches, and when a later one is refused, what was added is
removed again (except what a running queue has taken meanwhile; the message counts it).
"""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import msgspec

from sanic_qserver.api.call import Call
from sanic_qserver.api.endpoint import Answer
from sanic_qserver.api.items.meta import stamp_items
from sanic_qserver.api.items.verdicts import Submitter
from sanic_qserver.api.spreadsheets.batches import Batches
from sanic_qserver.api.spreadsheets.form_part import PART, read_sheet
from sanic_qserver.api.spreadsheets.grid import BadSheet
from sanic_qserver.api.spreadsheets.readers import Item, SheetContent
from sanic_qserver.middleware.hooks import Refused, Submission
from sanic_qserver.middleware.metadata import build_metadata
from sanic_qserver.middleware.ownership import refuse_instructions
from sanic_qserver.middleware.quotas import room_for
from sanic_qserver.middleware.review import propose_instead
from sanic_qserver.structs.requests import QueueUploadSpreadsheet

METHOD = "queue_item_add_batch"


async def upload_spreadsheet(call: Call) -> bytes | Answer:
    """Add the plans of the form part `spreadsheet`, or with `dry_run` only show what would be added."""
    params = cast("QueueUploadSpreadsheet", call.params)
    try:
        content = await read_sheet(call, params.data_type, params.sheet)
    except BadSheet as error:
        told = {"reader": error.reader} if error.reader else {}
        return _reply(
            success=False, msg=str(error), items=[], results=[], rows=[], file=call.files[PART].name or "", **told
        )
    items = [{"item_type": "plan", **item} for item in content.items]
    if call.access.review and not params.dry_run:
        return await propose_instead(call, items)
    submission = Submission(METHOD, call.access, call.request_id, len(items), is_validation=params.dry_run is True)
    prepared = await call.services.hooks.prepare(items, submission)
    if isinstance(prepared, Refused):
        return _refused(items, prepared.texts, content, "refused")
    if first := build_metadata(call):
        prepared = stamp_items(prepared, first)
    if params.dry_run:
        return await _shown(call, params, prepared, content)
    # It goes on when the client leaves, as a call that RE Manager has got does: half a sheet is nobody's wish.
    return await asyncio.shield(asyncio.ensure_future(_add(call, params, prepared, content)))


async def _add(call: Call, params: QueueUploadSpreadsheet, items: list[Item], content: SheetContent) -> bytes:
    refuse_instructions(call, items)
    async with room_for(call, len(items)):
        outcome = await Batches(call, params, call.files[PART].name or "").add(items)
    rows = _rows(content, outcome.results, outcome.items)
    reply = _reply(
        success=outcome.success,
        msg=outcome.msg,
        qsize=outcome.qsize,
        items=outcome.items,
        results=outcome.results,
        rows=rows,
        skipped_rows=content.skipped,
        **({"outcome": "unknown"} if outcome.is_unknown else {}),
    )
    if outcome.success:
        await call.services.hooks.report(reply, Submission(METHOD, call.access, call.request_id, len(items)))
    return reply


async def _shown(call: Call, params: QueueUploadSpreadsheet, items: list[Item], content: SheetContent) -> bytes:
    """What would be added, and what RE Manager would refuse about it."""
    submitter = Submitter(call.access.user, call.access.user_group, call.fairness_key, params.lock_key)
    verdicts = await call.services.validation.judge(items, submitter)
    if verdicts.refusal:
        return _reply(success=False, msg=verdicts.refusal, items=items, results=[], rows=[], dry_run=True)
    mistakes = {number: text for number, text in enumerate(verdicts.texts) if text}
    if mistakes:
        return _refused(items, mistakes, content, "not valid", dry_run=True)
    results = [{"success": True, "msg": ""} for _ in items]
    return _reply(
        success=True,
        msg=f"Dry run: {len(items)} plans, nothing was added",
        dry_run=True,
        items=items,
        results=results,
        rows=_rows(content, results, items),
        skipped_rows=content.skipped,
    )


def _refused(items: list[Item], texts: Any, content: SheetContent, how: str, **more: Any) -> bytes:
    results = [{"success": number not in texts, "msg": texts.get(number, "")} for number in range(len(items))]
    rows = _rows(content, results, items)
    first = next(row for row in rows if not row["success"])
    msg = f"{len(texts)} of {len(items)} plans are {how}; nothing was added. {_where(first)}: {first['msg']}"
    return _reply(success=False, msg=msg, qsize=None, items=items, results=results, rows=rows, **more)


def _where(row: dict[str, Any]) -> str:
    return f"Sheet '{row['sheet']}', row {row['row']}" if row["row"] else f"Plan {row['number']}"


def _rows(content: SheetContent, results: Sequence[Any], items: Sequence[Item]) -> list[dict[str, Any]]:
    """What became of every row: sheet and row (None where a custom reader does not say), `success`, `msg`, uid."""
    rows = []
    for number, (place, result, item) in enumerate(zip(content.places, results, items, strict=False), 1):
        sheet, row = place or (None, None)
        rows.append(
            {
                "number": number,
                "sheet": sheet,
                "row": row,
                "success": result["success"],
                "msg": result["msg"],
                "item_uid": item.get("item_uid"),
            }
        )
    return rows


def _reply(**members: Any) -> bytes:
    return msgspec.json.encode(members)
