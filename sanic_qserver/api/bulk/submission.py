"""Many items in one request: lines in, results out, and a token to go on with after a broken connection.

The rules:
1. A line is an item (NDJSON). Lines go to RE Manager in batches of what has arrived, at most `max_batch`, and smaller
   ones while somebody reads; in order, one batch at a time, through the row of `/queue/item/add/batch`: its quotas,
   rates and hooks hold here too.
2. Each line gets one result, as soon as its batch is decided. A bad line fails alone. The good ones of its batch are
   sent again because a failed validation proves that nothing was added; after any other failure nothing is sent
   again, and where a part may have been added (`manager/outcomes.py`) each line's `outcome` is unknown.
3. What was refused for now (429 or 503 with `Retry-After`) is tried again after that time: nothing was sent.
4. A stream is resumed with its token, sending lines again from the first one without a result. Lines that were
   decided before are not done again: they get the result that was kept. With replicas any of them goes on; where the
   one that began was killed, the lines of the batch that it had sent are `outcome: unknown`.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any, cast

import msgspec
from msgspec import UNSET, Struct

from sanic_qserver.api.bulk.state import Bulk, Doubt, StreamTaken
from sanic_qserver.api.call import Call, Charges
from sanic_qserver.api.endpoint import Endpoint, get_json
from sanic_qserver.errors import BadArguments, GatewayError, ManagerTimeout, ScopeMissing
from sanic_qserver.manager.outcomes import Verdict, judge, read_batch
from sanic_qserver.middleware.ownership import NO_INSTRUCTIONS, is_instruction, may_instruct
from sanic_qserver.middleware.review import read_proposal_id
from sanic_qserver.structs.requests import QueueItemAddBatch, QueueItemAddStream

BATCH_PATH = "/queue/item/add/batch"
_SMALL = 16  # Lines in a batch while somebody reads, who waits for a batch at most. 64 are some 10 % faster.
_PATIENCE_S = 300.0  # A batch that is refused "for now" longer than this is refused for good.

_CUT_OFF = {
    "success": None,
    "msg": "The server ended before there was an answer",
    "code": "outcome_unknown",
    "outcome": "unknown",
}

Result = dict[str, Any]


class _Added(Struct):
    item_uid: Any = ""


_decode_uid = msgspec.json.Decoder(_Added).decode
_decode_item = msgspec.json.Decoder(dict[str, Any]).decode


async def add_lines(call: Call, chunks: AsyncIterator[Sequence[bytes]]) -> AsyncIterator[bytes]:
    """Results for lines, first of all the token. Raises BadArguments or NotFound before the first one only."""
    params = cast("QueueItemAddStream", call.params)
    bulks = call.services.bulks
    bulk = (
        await bulks.begin(call.fairness_key)
        if params.resume is UNSET
        else await bulks.resume(params.resume, call.fairness_key)
    )
    line = 0 if params.next is UNSET else params.next
    if line > bulk.decided:
        raise BadArguments(f"next: line {line} is too far on; {bulk.decided} lines were decided")
    owner = bulk.take_over()
    wants_all = params.results != "failed"
    most = call.services.config.submissions.max_batch
    most = min(most, call.access.quota.batch_items or most)
    yield msgspec.json.encode({"stream": bulk.token, "next_line": bulk.decided})
    async for lines in chunks:
        rest = lines
        while rest:
            size = min(most, _SMALL) if call.services.manager.has_readers else most
            part, rest = rest[:size], rest[size:]
            for result in await _part(call, bulk, line, part):
                if wants_all or not result.startswith(b'{"success":true'):
                    yield result
            line += len(part)
            if not wants_all:
                yield msgspec.json.encode({"decided": line})
            if bulk.owner is not owner:  # Resumed by another connection: this one is dead.
                return
    totals = {"lines": bulk.decided, "added": bulk.added, "refused": bulk.decided - bulk.added}
    yield msgspec.json.encode({"done": True, **totals})


async def _part(call: Call, bulk: Bulk, first: int, lines: Sequence[bytes]) -> Sequence[bytes]:
    """The results of neighbouring lines: kept ones, and new ones."""
    known = max(0, min(len(lines), bulk.decided - first))
    results = [bulk.result(first + at, _digest(lines[at])) for at in range(known)]
    if known == len(lines):
        return results
    # It goes on when the connection breaks: what was begun is decided, and kept for the resumption.
    bulk.deciding = asyncio.ensure_future(_decide(call, bulk, first + known, lines[known:]))
    bulk.deciding.add_done_callback(lambda done: done.cancelled() or done.exception())  # Nobody may wait for it.
    return results + await asyncio.shield(bulk.deciding)


async def _decide(call: Call, bulk: Bulk, first: int, lines: Sequence[bytes]) -> list[bytes]:
    results: list[Result | None] = [None] * len(lines)
    items: dict[int, dict[str, Any]] = {}
    for at, line in enumerate(lines):
        try:
            items[at] = _decode_item(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            text = f"The line is not a JSON object: {error}"
            results[at] = {"success": False, "msg": text, "code": "unreadable_line"}
            continue
        if is_instruction(items[at]) and not may_instruct(call):
            results[at] = {"success": False, "msg": NO_INSTRUCTIONS, "code": ScopeMissing.code}
            del items[at]
    call = replace(call, charges=Charges())  # Each line is counted once, however often it is sent.

    def doubt() -> list[tuple[bytes, bytes]]:
        every = enumerate(zip(lines, results, strict=True), first)
        return [
            (_digest(line), msgspec.json.encode({**(result or _CUT_OFF), "line": at})) for at, (line, result) in every
        ]

    while items:
        decided = await _batch(call, bulk, list(items.values()), doubt)
        for at, result in zip(list(items), decided, strict=True):
            if result is not None:
                results[at] = result
                del items[at]
    told = [msgspec.json.encode({**(result or {}), "line": first + at}) for at, result in enumerate(results)]
    for line, result, encoded in zip(lines, results, told, strict=True):
        bulk.decide(_digest(line), encoded, is_added=bool(result and result["success"]))
    await bulk.keep()
    return told


async def _batch(call: Call, bulk: Bulk, items: list[dict[str, Any]], doubt: Doubt) -> list[Result | None]:
    """One result an item; None for the good ones of a batch that had a bad one: they are to be sent again."""
    try:
        answer = await _patiently(call, bulk, items, doubt)
    except StreamTaken:
        raise
    except ManagerTimeout as error:
        return [{"success": None, "msg": error.detail, "code": error.code, "outcome": "unknown"}] * len(items)
    except GatewayError as error:
        if error.status >= 500 and error.status != 503:  # No answer that can be read.
            return [{"success": None, "msg": error.detail, "code": error.code, "outcome": "unknown"}] * len(items)
        return [{"success": False, "msg": error.detail, "code": error.code}] * len(items)
    if call.access.review and (proposal := read_proposal_id(answer)):
        msg = "Proposed for review"
        return [{"success": True, "msg": msg, "code": "proposed", "proposal": proposal}] * len(items)
    reply = read_batch(answer)
    verdict = judge(reply, len(items))
    if reply is None or verdict is Verdict.UNKNOWN:
        msg = "RE Manager's answer cannot be read" if reply is None else reply.msg
        return [{"success": None, "msg": msg, "code": "outcome_unknown", "outcome": "unknown"}] * len(items)
    if verdict is Verdict.ADDED:
        first = (reply.qsize or 0) - len(items) + 1
        uids = [_decode_uid(item).item_uid for item in reply.items]
        return [{"success": True, "msg": "", "item_uid": uid, "qsize": first + at} for at, uid in enumerate(uids)]
    if verdict is Verdict.REFUSED:
        return [{"success": False, "msg": reply.msg}] * len(items)
    return [None if result.success else {"success": False, "msg": result.msg} for result in reply.results]


async def _patiently(call: Call, bulk: Bulk, items: list[dict[str, Any]], doubt: Doubt) -> bytes:
    """RE Manager's reply to a batch; waits while it is refused for now."""
    row = _batch_row(call)
    access = call.access
    params = QueueItemAddBatch(items=items, user=access.user, user_group=access.user_group)
    # Without the headers: an Idempotency-Key of the stream is not one of each batch.
    single = replace(call, endpoint=row, params=params, unknown={}, headers={})
    loop = asyncio.get_running_loop()
    until = loop.time() + _PATIENCE_S
    while True:
        await call.check_again()  # It may have waited for minutes.
        try:
            async with bulk.sending(doubt):
                return get_json(await row.serve(single))
        except GatewayError as error:
            pause_s = float(error.headers.get("Retry-After", 0))
            if error.status not in (429, 503) or not pause_s or loop.time() + pause_s > until:
                raise
            await asyncio.sleep(pause_s)


def _batch_row(call: Call) -> Endpoint:
    return next(row for row in call.services.rows if row.path == BATCH_PATH)


def _digest(line: bytes) -> bytes:
    return blake2b(line, digest_size=8).digest()
