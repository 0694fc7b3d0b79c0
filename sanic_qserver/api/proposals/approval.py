"""Carrying out approvals: exactly once, whatever dies in the middle.

The states: open -> approving -> queued, or open again with the reason.

1. An approval begins in the database (`approving`, with an id of this attempt). Only then are the items sent, in one
   batch, and each carries in its `meta` the proposal, the attempt and its number.
2. RE Manager's answer ends it: queued, or open again when the answer proves that nothing was added.
3. Without such an answer (time-out, lost connection, a failure half-way, the death of this server) the outcome is
   unknown and is *settled*: RE Manager is asked until nothing that was sent before can still be under way
   (`manager/client/settling.py`), and then the queue and the history are searched for the attempt. All there: queued.
   Nothing there: open again. A part there: only the missing items are sent.

Unknown remains only what was removed from the queue, or cleared from the history, before the search: it counts as not
added, and the proposal is open again for a person to decide.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import UNSET

from sanic_qserver.api.items.meta import STAMP, read_stamp, stamp_items
from sanic_qserver.api.proposals.store import Approval, ProposalStore
from sanic_qserver.errors import GatewayError
from sanic_qserver.manager.client.client import ManagerClient
from sanic_qserver.manager.client.settling import find_items
from sanic_qserver.manager.outcomes import Verdict, judge, read_batch
from sanic_qserver.middleware.hooks import Hooks, Refused, Submission
from sanic_qserver.structs.identity import Access, Principal
from sanic_qserver.structs.proposals import Proposal, ProposalState
from sanic_qserver.structs.requests import QueueItemAddBatch
from sanic_qserver.tasks import end_tasks

log = logging.getLogger("sanic_qserver.proposals")

_CLAIM_S = 15.0  # A worker that is silent for longer has died: another one settles its approvals.
_SETTLE_PAUSE_S = 1.0
_FAIRNESS_KEY = "proposals"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an approval ended: `queued` with the uids of the items, or `open` again with the reason."""

    state: ProposalState
    uids: Sequence[str] = ()
    reason: str = ""


class Approvals:
    """Carries out approvals, and settles those whose outcome is unknown. `tell` is called with what has changed."""

    def __init__(
        self, store: ProposalStore, manager: ManagerClient, hooks: Hooks, tell: Callable[[Proposal], None]
    ) -> None:
        self._store = store
        self._manager = manager
        self._hooks = hooks
        self._tell = tell
        # What this process has not sent after so long it refuses to send (`queue_wait_s`): others may look by then.
        self._claim_s = _CLAIM_S + 2 * manager.config.queue_wait_s
        self._tasks: set[asyncio.Task[None]] = set()

    async def carry_out(self, approval: Approval, request_id: str, lock_key: Any = UNSET) -> Proposal:
        """Send the items of an approval that has begun. The proposal afterwards: queued, open, or still approving."""
        try:
            items = await self._prepare(approval, request_id)
        except GatewayError as error:
            return await self._end(approval, Outcome("open", reason=error.detail))
        if isinstance(items, Refused):
            return await self._end(approval, Outcome("open", reason=f"Refused: {next(iter(items.texts.values()))}"))
        outcome = await self._send(approval, items, lock_key)
        if outcome is None:
            self._begin(self._settle(approval, lock_key))
            return await self._store.read(approval.proposal.id)
        return await self._end(approval, outcome)

    async def begin(self, proposal: Proposal, by: str, pos: Any) -> Approval:
        """Mark an open proposal as being approved. Raises Conflict or PreconditionFailed."""
        return await self._store.begin_approval(proposal, by, pos, self._claim_s)

    async def settle_abandoned(self) -> None:
        """Take over the approvals of workers that have died, at start and from time to time."""
        for approval in await self._store.claim_abandoned(self._claim_s):
            log.warning("The approval of proposal %s was cut off; looking for its items", approval.proposal.id)
            self._begin(self._settle(approval, UNSET))

    async def close(self) -> None:
        """Stop settling: another start goes on with it."""
        await end_tasks(*self._tasks)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _prepare(self, approval: Approval, request_id: str) -> list[dict[str, Any]] | Refused:
        """The items as they are sent: seen by the hooks, in the proposer's name, and marked."""
        proposal = approval.proposal
        submission = Submission("queue_item_add_batch", build_access(proposal), request_id, len(proposal.items))
        items = await self._hooks.prepare([dict(item) for item in proposal.items], submission)
        return items if isinstance(items, Refused) else mark_items(items, approval)

    async def _send(self, approval: Approval, items: Sequence[Any], lock_key: Any) -> Outcome | None:
        """Send items. None when the outcome is unknown."""
        proposal = approval.proposal
        params = QueueItemAddBatch(
            items=list(items),
            user=proposal.user,
            user_group=proposal.user_group,
            pos=UNSET if approval.pos is None else approval.pos,
            lock_key=lock_key,
        )
        if not await self._store.extend_claim(approval, self._claim_s):
            return None  # This process was stopped for long, and another one looks after the approval.
        try:
            reply = read_batch(await self._manager.request("queue_item_add_batch", params, fairness_key=_FAIRNESS_KEY))
        except GatewayError as error:
            # Only 503 says that nothing was sent.
            return Outcome("open", reason=f"Nothing was added: {error.detail}") if error.status == 503 else None
        verdict = judge(reply, len(items))
        if verdict is Verdict.UNKNOWN or reply is None:
            return None
        if verdict is not Verdict.ADDED:
            said = [result.msg for result in reply.results if not result.success]
            return Outcome("open", reason=said[0] if said else reply.msg)
        return Outcome("queued", [str(msgspec.json.decode(item)["item_uid"]) for item in reply.items])

    async def _settle(self, approval: Approval, lock_key: Any) -> None:
        """Find out what became of an approval, for as long as it takes."""
        while True:
            await asyncio.sleep(_SETTLE_PAUSE_S)
            try:
                if not await self._store.extend_claim(approval, self._claim_s):
                    return
                if (outcome := await self._look_for(approval, lock_key)) is not None:
                    await self._end(approval, outcome)
                    return
            except GatewayError as error:
                log.info("The approval of proposal %s is not settled yet: %s", approval.proposal.id, error.detail)

    async def _look_for(self, approval: Approval, lock_key: Any) -> Outcome | None:
        """What the queue and the history say of an attempt; sends what is missing of a part. None: look again."""
        found = await self._find(approval)
        items = mark_items(approval.proposal.items, approval)
        if not found:
            return Outcome("open", reason="The approval was cut off; nothing was added")
        if len(found) == len(items):
            return Outcome("queued", [found[number] for number in range(len(items))])
        log.warning("Proposal %s: %d of %d items were added", approval.proposal.id, len(found), len(items))
        missing = [item for number, item in enumerate(items) if number not in found]
        sent = await self._send(approval, missing, lock_key)
        if sent is None or sent.state == "queued":  # The next look finds them all.
            return None
        # To open it again would double what is there already.
        uids = [found[number] for number in sorted(found)]
        return Outcome("queued", uids, f"Only {len(found)} of {len(items)} items could be added: {sent.reason}")

    async def _find(self, approval: Approval) -> dict[int, str]:
        """The uids of an attempt's items by number. Raises GatewayError when RE Manager cannot tell."""
        found: dict[int, str] = {}
        for item in await find_items(self._manager, _FAIRNESS_KEY):
            mark = read_stamp(item)
            if mark.get("attempt") == approval.attempt and "item" in mark:
                found.setdefault(int(mark["item"]), item["item_uid"])
        return found

    async def _end(self, approval: Approval, outcome: Outcome) -> Proposal:
        ended = await self._store.end_approval(approval, outcome.state, outcome.uids, outcome.reason)
        self._tell(ended)
        return ended


def build_access(proposal: Proposal) -> Access:
    """The proposer as hooks see them: without roles and scopes, which may have changed since."""
    principal = Principal(name=proposal.proposer, provider=proposal.provider)
    return Access(principal=principal, roles=(), scopes=frozenset(), user=proposal.user, user_group=proposal.user_group)


def mark_items(items: Sequence[Any], approval: Approval) -> list[dict[str, Any]]:
    """The items with the proposal, the attempt and their number first in `meta`."""
    marked = []
    for number, item in enumerate(items):
        mark = {
            "proposal": approval.proposal.id,
            "attempt": approval.attempt,
            "item": number,
            "principal": approval.proposal.proposer,
            "provider": approval.proposal.provider,
            "approved_by": approval.decided_by,
        }
        marked += stamp_items([item], [{STAMP: mark}])
    return marked
