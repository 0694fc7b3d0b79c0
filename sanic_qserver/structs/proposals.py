"""Proposals: what is sent about them, and what is answered."""

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from sanic_qserver.structs.replies import Reply
from sanic_qserver.structs.requests import Offset, Params, Position

ProposalState = Literal["open", "approving", "queued", "denied", "withdrawn", "expired"]


class ProposalCreate(Params, frozen=True, kw_only=True):
    """Propose an `item`, several `items`, or the plans of a spreadsheet (form part `spreadsheet`) for review.

    `data_type` and `sheet` are those of the spreadsheet, as in its upload.
    """

    item: dict[str, Any] | UnsetType = UNSET
    items: list[dict[str, Any]] | UnsetType = UNSET
    title: str = ""
    note: str = ""
    data_type: str | UnsetType = UNSET
    sheet: str | UnsetType = UNSET


class ProposalsList(Params, frozen=True, kw_only=True):
    """List proposals, the newest first: all that the caller may see, or only those in a `state`, or one's own."""

    state: ProposalState | UnsetType = UNSET
    mine: bool = False
    offset: Offset | UnsetType = UNSET
    limit: Offset | UnsetType = UNSET


class ProposalGet(Params, frozen=True, kw_only=True):
    """Get a proposal with its earlier versions and its comments."""


class ProposalChange(Params, frozen=True, kw_only=True):
    """Change an open proposal of one's own: that makes a new version, which is validated anew."""

    item: dict[str, Any] | UnsetType = UNSET
    items: list[dict[str, Any]] | UnsetType = UNSET
    title: str | UnsetType = UNSET
    note: str | UnsetType = UNSET


class ProposalWithdraw(Params, frozen=True, kw_only=True):
    """Take back an open proposal of one's own."""


class ProposalComment(Params, frozen=True, kw_only=True):
    """Comment on a proposal."""

    text: str


class ProposalApprove(Params, frozen=True, kw_only=True):
    """Approve the version named by `If-Match`: its items go to the queue, in the proposer's name, at `pos`."""

    pos: Position | UnsetType = UNSET
    lock_key: str | UnsetType = UNSET


class ProposalDeny(Params, frozen=True, kw_only=True):
    """Deny the version named by `If-Match`, with a reason."""

    reason: str


class ItemVerdict(Struct, kw_only=True):
    """RE Manager's verdict on an item when it was proposed."""

    valid: bool
    msg: str


class Comment(Struct, kw_only=True):
    """A comment; `at` is POSIX time in seconds."""

    by: str
    at: float
    text: str


class ProposalVersion(Struct, kw_only=True):
    """A version of a proposal."""

    version: int
    title: str
    note: str
    items: list[dict[str, Any]]
    changed_at: float


class Proposal(Struct, kw_only=True):
    """A proposal. Times are POSIX, in seconds; `item_uids` are those that RE Manager gave when it was approved.

    `reason` says why it was denied, or why an approval did not succeed. `item_ids` name the items from the proposal on:
    `/api/item/<item_id>` follows them into the queue.
    """

    id: str
    version: int
    state: ProposalState
    title: str
    note: str
    items: list[dict[str, Any]]
    verdicts: list[ItemVerdict]
    item_ids: list[str]
    proposer: str
    provider: str
    user: str
    user_group: str
    created_at: float
    changed_at: float
    expires_at: float
    decided_by: str | None
    decided_at: float | None
    reason: str
    item_uids: list[str]
    comments: list[Comment] = []
    versions: list[ProposalVersion] = []


class ProposalReply(Reply, kw_only=True):
    """One proposal."""

    proposal: Proposal


class ProposalsReply(Reply, kw_only=True):
    """A page of proposals, without comments and versions, and how many there are."""

    proposals: list[Proposal]
    total: int
    offset: int
