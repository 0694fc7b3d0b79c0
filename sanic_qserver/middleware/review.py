"""Submissions of roles that are reviewed: refused, or turned into proposals.

A role with `review: required` gets 403 for its adds, with `review: automatic` its adds become proposals (202). Roles
that may edit the queue and say nothing of review are not affected, nor is who holds one of them beside a reviewed one.
"""

import functools
from typing import Any

import msgspec

from sanic_qserver.api.call import Call
from sanic_qserver.api.endpoint import Answer, Endpoint, Serve
from sanic_qserver.api.proposals.rows import propose_items
from sanic_qserver.errors import ReviewRequired
from sanic_qserver.manager.bodies import Body

HOW = 'POST /api/proposals {"items": […], "title": …} proposes them'


def reviewed(row: Endpoint, serve: Serve) -> Serve:
    """The layer REVIEWED."""

    @functools.wraps(serve)
    async def reviewed_serve(call: Call) -> bytes | Body | Answer:
        if not call.access.review:
            return await serve(call)
        params: Any = call.params
        if row.method == "queue_item_update":
            raise ReviewRequired(f"Not enough permissions. Your items are reviewed: {HOW}; withdraw the old one")
        items = [params.item] if hasattr(params, "item") else params.items
        return await propose_instead(call, items)

    return reviewed_serve


async def propose_instead(call: Call, items: Any) -> Answer:
    """The proposal that a submission became. Raises ReviewRequired where the caller has to propose."""
    if call.access.review == "required":
        raise ReviewRequired(f"Not enough permissions. Your items are reviewed before they are queued: {HOW}")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        items = []
    return await propose_items(call, items, "", "", 202)


def read_proposal_id(reply: bytes) -> str:
    """The id of the proposal in a reply; empty when it holds none."""
    try:
        return str(msgspec.json.decode(reply, type=_Reply).proposal.id)
    except msgspec.MsgspecError:
        return ""


class _Proposal(msgspec.Struct):
    id: str


class _Reply(msgspec.Struct):
    proposal: _Proposal
