"""The hooks of custom modules around rows that submit items."""

import functools
from dataclasses import replace
from typing import Any

from msgspec import structs

from sanic_qserver.api.call import Call
from sanic_qserver.api.endpoint import Answer, Endpoint, Serve, get_json
from sanic_qserver.manager.bodies import Body
from sanic_qserver.middleware.hooks import ITEM_FIELDS, Hooks, Refused, Submission, refusal_reply


def hooked(hooks: Hooks, _: Endpoint, serve: Serve) -> Serve:
    """The layer HOOKED: nothing where there are no hooks."""
    if not hooks.before and not hooks.after:
        return serve

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
        await hooks.report(get_json(answer), submission)
        return answer

    return hooked_serve
