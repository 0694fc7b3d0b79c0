"""Rows that submit items, with the hooks of custom modules around them."""

import functools
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from msgspec import structs

from sanic_qserver.api.endpoint import Answer, Call, Endpoint, Serve, bytes_of
from sanic_qserver.manager.bodies import Body
from sanic_qserver.middleware.hooks import ITEM_FIELDS, Hooks, Refused, Submission, refusal_reply


def hooked(rows: Iterable[Endpoint], hooks: Hooks) -> tuple[Endpoint, ...]:
    """The rows, those that submit items wrapped by the hooks; unchanged when there are none."""
    if not hooks.before and not hooks.after:
        return tuple(rows)
    return tuple(replace(row, serve=_around(row.serve, hooks)) if _submits(row) else row for row in rows)


def _submits(row: Endpoint) -> bool:
    return row.method in ITEM_FIELDS and ITEM_FIELDS[row.method] in row.params.__struct_fields__


def _around(serve: Serve, hooks: Hooks) -> Serve:
    @functools.wraps(serve)
    async def hooked_serve(call: Call) -> bytes | Body | Answer:
        name = ITEM_FIELDS[call.endpoint.method]
        sent: Any = getattr(call.params, name)
        if name == "items":
            items = sent if isinstance(sent, list) and all(isinstance(item, dict) for item in sent) else None
        else:
            items = [sent] if isinstance(sent, dict) else None
        if items is None:  # Not items at all: RE Manager says so better.
            return await serve(call)
        submission = Submission(call.endpoint.method, call.access, call.request_id, len(items))
        prepared = await hooks.prepare(items, submission)
        if isinstance(prepared, Refused):
            return refusal_reply(submission.method, items, prepared)
        params = structs.replace(call.params, **{name: prepared if name == "items" else prepared[0]})
        answer = await serve(replace(call, params=params))
        await hooks.report(bytes_of(answer), submission)
        return answer

    return hooked_serve
