"""The rows of proposals.

The rules:
1. Who holds `write:proposals` proposes, and sees and changes proposals of their own; who holds `write:queue:edit:own`
   sees and withdraws their own, which a review may have made of what they added. Who holds
   `write:proposals:decide` sees all, comments and decides. `write:queue:edit` includes both: such callers could add the
   items themselves.
2. A decision names the version that it is about (`If-Match: "<version>"`): nobody decides on what they have not seen.
3. Nobody approves a proposal of their own, unless `[proposals] own_approval` allows it.
4. What is queued belongs to the proposer: RE Manager is told the proposer's user and user group.
5. A call with an `Idempotency-Key` makes one proposal, whose id follows from the key: also when its server died before
   it answered, and also when the database did and may have written it.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, cast

import msgspec
from msgspec import UNSET, UnsetType

from sanic_qserver.api.call import Call
from sanic_qserver.api.endpoint import Answer
from sanic_qserver.api.items.validate import judge_items
from sanic_qserver.api.spreadsheets.form_part import read_sheet
from sanic_qserver.api.spreadsheets.grid import BadSheet
from sanic_qserver.errors import (
    BadArguments,
    Conflict,
    NotFound,
    Overloaded,
    PreconditionFailed,
    PreconditionRequired,
    ScopeMissing,
    TooManyRequests,
)
from sanic_qserver.manager.client.call import SENDING
from sanic_qserver.middleware.idempotency.replay import derive_proposal_id
from sanic_qserver.middleware.ownership import read_queue
from sanic_qserver.scopes import Scope
from sanic_qserver.structs import proposals as structs
from sanic_qserver.structs.proposals import ItemVerdict, Proposal

_PAGE = 100
_MOST_TEXT = 10_000
_MOST_TITLE = 200


async def create_proposal(call: Call) -> Answer:
    """Propose items for review: 201 with the proposal."""
    params = cast("structs.ProposalCreate", call.params)
    items = await _read_items(call, params)
    return await propose_items(call, items, params.title, params.note)


async def propose_items(
    call: Call, items: Sequence[dict[str, Any]], title: str, note: str, status: int = 201
) -> Answer:
    """A new proposal of the caller. Raises BadArguments and TooManyRequests."""
    from sanic_qserver.api.proposals.store import Content, Proposer  # noqa: PLC0415  # SQLAlchemy

    _check_texts(call, items, title, note)
    desk = call.services.proposals
    store = await desk.store()
    await _check_quota(call, len(items))
    access = call.access
    proposer = Proposer(access.principal.provider, access.principal.name, access.user, access.user_group)
    prepared, verdicts = await _validate(call, items)
    content = Content(title, note, prepared, verdicts)
    if (sending := SENDING.get()) is not None and not sending.may_send():
        # This process was stopped for long: whoever asked again was told that nothing was made.
        raise Overloaded(
            "The claim of the Idempotency-Key has ended: nothing was proposed", headers={"Retry-After": "1"}
        )
    config = call.services.config
    key, known_s = derive_proposal_id(call), config.idempotency.keep_s
    proposal = await store.create(proposer, content, config.proposals.keep_open_days, key, known_s)
    desk.tell("created", proposal)
    return _answer(proposal, status, {"Location": f"{call.find_site().prefix}/api/proposals/{proposal.id}"})


async def list_proposals(call: Call) -> bytes:
    """Proposals, the newest first."""
    params = cast("structs.ProposalsList", call.params)
    owner = None if may_decide(call) and not params.mine else _identity(call)
    offset = 0 if isinstance(params.offset, UnsetType) else params.offset
    limit = _PAGE if isinstance(params.limit, UnsetType) else params.limit
    state = "" if isinstance(params.state, UnsetType) else params.state
    store = await call.services.proposals.store()
    found, total = await store.list(owner, state, offset, limit)
    return msgspec.json.encode(
        structs.ProposalsReply(success=True, msg="", proposals=list(found), total=total, offset=offset)
    )


async def get_proposal(call: Call) -> Answer:
    """One proposal, with its versions and comments."""
    return _answer(await _read(call))


async def change_proposal(call: Call) -> Answer:
    """A new version of an open proposal of one's own."""
    from sanic_qserver.api.proposals.store import Content  # noqa: PLC0415  # SQLAlchemy

    params = cast("structs.ProposalChange", call.params)
    proposal = await _read_own(call)
    _check_version(call, proposal, is_needed=False)
    has_items = not (isinstance(params.item, UnsetType) and isinstance(params.items, UnsetType))
    title = proposal.title if isinstance(params.title, UnsetType) else params.title
    note = proposal.note if isinstance(params.note, UnsetType) else params.note
    items = _choose_items(params.item, params.items) if has_items else proposal.items
    _check_texts(call, items, title, note)
    await _check_quota(call, len(items) - len(proposal.items))
    prepared, verdicts = await _validate(call, items)
    desk = call.services.proposals
    changed = await (await desk.store()).change(proposal, Content(title, note, prepared, verdicts))
    desk.tell("changed", changed)
    return _answer(changed)


async def withdraw_proposal(call: Call) -> Answer:
    """Take back an open proposal of one's own."""
    proposal = await _read_own(call)
    _check_version(call, proposal, is_needed=False)
    desk = call.services.proposals
    withdrawn = await (await desk.store()).settle_open(proposal, "withdrawn", call.access.user)
    desk.tell("withdrawn", withdrawn)
    return _answer(withdrawn)


async def comment_proposal(call: Call) -> Answer:
    """One comment more."""
    params = cast("structs.ProposalComment", call.params)
    if not params.text.strip() or len(params.text) > _MOST_TEXT:
        raise BadArguments(f"text: between 1 and {_MOST_TEXT} characters", extra={"field": "text"})
    proposal = await _read(call)
    desk = call.services.proposals
    commented = await (await desk.store()).comment(proposal.id, call.access.user, params.text)
    desk.tell("commented", commented, by=call.access.user)
    return _answer(commented)


async def approve_proposal(call: Call) -> Answer:
    """Put the items of the version seen into the queue. 202 while the outcome is not known yet."""
    params = cast("structs.ProposalApprove", call.params)
    proposal = await _read(call)
    _check_version(call, proposal, is_needed=True)
    is_own = (proposal.provider, proposal.proposer) == _identity(call)
    if is_own and not call.services.config.proposals.own_approval:
        raise ScopeMissing("Not enough permissions. Somebody else must approve a proposal of your own")
    _, approvals = await call.services.proposals.open()
    pos = None if isinstance(params.pos, UnsetType) else params.pos
    approval = await approvals.begin(proposal, call.access.user, pos)
    # It goes on when the client leaves: what was begun has an end.
    work = asyncio.ensure_future(approvals.carry_out(approval, call.request_id, params.lock_key))
    ended = await asyncio.shield(work)
    if ended.state == "approving":
        return _answer(ended, 202, msg="The outcome is not known yet; it is being looked for")
    return _answer(ended, success=ended.state == "queued", msg=ended.reason)


async def deny_proposal(call: Call) -> Answer:
    """Deny the version seen, with a reason."""
    params = cast("structs.ProposalDeny", call.params)
    if not params.reason.strip() or len(params.reason) > _MOST_TEXT:
        raise BadArguments(f"reason: between 1 and {_MOST_TEXT} characters", extra={"field": "reason"})
    proposal = await _read(call)
    _check_version(call, proposal, is_needed=True)
    desk = call.services.proposals
    denied = await (await desk.store()).settle_open(proposal, "denied", call.access.user, params.reason)
    desk.tell("denied", denied)
    return _answer(denied)


def may_decide(call: Call) -> bool:
    """Whether the caller decides on proposals of others, and therefore sees them."""
    return bool(call.access.scopes & {Scope.WRITE_PROPOSALS_DECIDE, Scope.WRITE_QUEUE_EDIT})


async def find_proposed(call: Call, item_id: str) -> tuple[Proposal, int]:
    """The proposal that an item's id `<proposal>:<number>` names. Raises NotFound."""
    key, _, number = item_id.rpartition(":")
    proposal = await _read_by_id(call, key)
    if not number.isdecimal() or int(number) >= len(proposal.items):
        raise NotFound(f"There is no item '{item_id}'")
    return proposal, int(number)


async def _read(call: Call) -> Proposal:
    return await _read_by_id(call, call.path_args["id"])


async def _read_by_id(call: Call, key: str) -> Proposal:
    """A proposal that the caller may see; others are told that there is none."""
    proposal = await (await call.services.proposals.store()).read(key)
    if not may_decide(call) and (proposal.provider, proposal.proposer) != _identity(call):
        raise NotFound(f"There is no proposal '{key}'")
    return proposal


async def _read_own(call: Call) -> Proposal:
    proposal = await _read(call)
    if (proposal.provider, proposal.proposer) != _identity(call):
        raise ScopeMissing("Not enough permissions. The proposal is somebody else's")
    if proposal.state != "open":
        raise Conflict(f"The proposal is not open any more: it is {proposal.state}", extra={"state": proposal.state})
    return proposal


def _identity(call: Call) -> tuple[str, str]:
    return call.access.principal.provider, call.access.principal.name


def _check_version(call: Call, proposal: Proposal, *, is_needed: bool) -> None:
    """Compare `If-Match` with the version that is there."""
    text = call.headers.get("if-match", "").strip()
    if not text:
        if is_needed:
            raise PreconditionRequired(f'Send If-Match: "{proposal.version}", the version that you have seen')
        return
    if text.removeprefix("W/").strip('"') != str(proposal.version):
        raise PreconditionFailed(
            f"The proposal has version {proposal.version}; If-Match says {text[:40]}",
            extra={"version": proposal.version},
        )


def _check_texts(call: Call, items: Sequence[Any], title: str, note: str) -> None:
    most = call.services.config.proposals.max_items
    if not items:
        raise BadArguments("items: there must be one at least", extra={"field": "items"})
    if len(items) > most:
        raise BadArguments(f"items: at most {most} in one proposal; these are {len(items)}", extra={"field": "items"})
    if len(title) > _MOST_TITLE:
        raise BadArguments(f"title: at most {_MOST_TITLE} characters", extra={"field": "title"})
    if len(note) > _MOST_TEXT:
        raise BadArguments(f"note: at most {_MOST_TEXT} characters", extra={"field": "note"})


def _choose_items(item: Any, items: Any) -> list[dict[str, Any]]:
    if (item is UNSET) == (items is UNSET):
        raise BadArguments("item, items: give one of them", extra={"field": "items"})
    return [item] if items is UNSET else items


async def _read_items(call: Call, params: structs.ProposalCreate) -> list[dict[str, Any]]:
    """The items of the body, or of the spreadsheet."""
    if "spreadsheet" not in call.files:
        return _choose_items(params.item, params.items)
    try:
        content = await read_sheet(call, params.data_type, params.sheet)
    except BadSheet as error:
        raise BadArguments(f"spreadsheet: {error}", extra={"field": "spreadsheet"}) from None
    return [{"item_type": "plan", **item} for item in content.items]


async def _check_quota(call: Call, more: int) -> None:
    """Open proposals count as if their items were in the queue."""
    most = call.access.quota.queue_items
    if most is None or more <= 0:
        return
    proposed = await (await call.services.proposals.store()).count_open_items(_identity(call))
    waiting = (await read_queue(call)).count_items(call.access.user)
    if waiting + proposed + more > most:
        raise TooManyRequests(
            f"Your quota allows {most} items; {waiting} are queued, {proposed} are proposed, and this adds {more}",
            extra={"rule": "quota.queue_items", "limit": most, "waiting": waiting + proposed},
        )


async def _validate(call: Call, items: Sequence[Any]) -> tuple[list[dict[str, Any]], list[ItemVerdict]]:
    """The items as they would be submitted, and RE Manager's verdicts; while it does not judge, its reason for all."""
    found = await judge_items(call, items, "queue_item_add_batch")
    if not found["success"]:
        return list(items), [ItemVerdict(valid=False, msg=found["msg"]) for _ in items]
    results = found["results"]
    return [one["item"] for one in results], [ItemVerdict(valid=one["valid"], msg=one["msg"]) for one in results]


def _answer(
    proposal: Proposal, status: int = 200, headers: dict[str, str] | None = None, *, success: bool = True, msg: str = ""
) -> Answer:
    if proposal.state == "open" and proposal.expires_at <= time.time():
        proposal.state = "expired"  # The sweep will say so in the database within seconds.
    body = msgspec.json.encode(structs.ProposalReply(success=success, msg=msg, proposal=proposal))
    return Answer(body, status, headers={"ETag": f'"{proposal.version}"', **(headers or {})})
