"""Proposals in a database.

Each method is one transaction. The state changes by one `UPDATE … WHERE state = …` only, so that of two who decide at
once one finds that it was decided already.
"""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import RowMapping, Select, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from sanic_qserver.auth.storage.database import Database
from sanic_qserver.auth.storage.tables import proposal_comments, proposal_versions, proposals
from sanic_qserver.errors import Conflict, NotFound, PreconditionFailed
from sanic_qserver.structs.proposals import Comment, ItemVerdict, Proposal, ProposalVersion


@dataclass(frozen=True, slots=True)
class Proposer:
    """Who proposes, and what RE Manager will be told of them."""

    provider: str
    name: str
    user: str
    user_group: str


@dataclass(frozen=True, slots=True)
class Content:
    """What is proposed."""

    title: str
    note: str
    items: Sequence[Mapping[str, Any]]
    verdicts: Sequence[ItemVerdict]


@dataclass(frozen=True, slots=True)
class Approval:
    """An approval under way: all that is needed to carry it out, or to find out what became of it."""

    proposal: Proposal
    attempt: str
    pos: Any
    decided_by: str


class ProposalStore:
    """The proposals of an application. `clock` gives POSIX seconds."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self._claims: dict[str, float] = {}  # Attempts that this worker answers for, and until when.

    async def create(
        self, proposer: Proposer, content: Content, keep_days: float, key: str = "", known_s: float = 0.0
    ) -> Proposal:
        """A new open proposal. One of the id `key` that was made in the last `known_s` seconds is not made again."""
        try:
            return await self._insert(key or str(uuid.uuid4()), proposer, content, keep_days)
        except IntegrityError:
            if not key:
                raise
        if (found := await self.find(key, known_s)) is not None:
            return found
        return await self._insert(str(uuid.uuid4()), proposer, content, keep_days)

    async def find(self, key: str, known_s: float) -> Proposal | None:
        """The proposal that was made under this id in the last `known_s` seconds."""
        try:
            found = await self.read(key)
        except NotFound:
            return None
        return found if self._clock() - found.created_at < known_s else None

    async def _insert(self, key: str, proposer: Proposer, content: Content, keep_days: float) -> Proposal:
        now = self._clock()
        async with self._database.begin() as connection:
            await connection.execute(
                proposals.insert().values(
                    id=key, version=1, state="open", provider=proposer.provider, proposer=proposer.name,
                    proposer_user=proposer.user, user_group=proposer.user_group, created_at=now, changed_at=now,
                    expires_at=now + keep_days * 86_400, reason="", item_uids=[], attempt="", claimed_until=0.0,
                    **_columns(content),
                )
            )  # fmt: skip
            await connection.execute(proposal_versions.insert().values(_version(key, 1, content, now)))
            return await _read(connection, key)

    async def read(self, key: str) -> Proposal:
        """A proposal with its versions and comments. Raises NotFound."""
        async with self._database.begin() as connection:
            return await _read(connection, key)

    async def list(
        self, owner: tuple[str, str] | None, state: str, offset: int, limit: int
    ) -> tuple[Sequence[Proposal], int]:
        """A page of the proposals of an owner (None: of everybody) in a state ("": in any), and their number."""
        from sanic_qserver.auth.storage.tables import proposals  # noqa: PLC0415

        conditions = [proposals.c.state == state] if state else []
        if owner is not None:
            conditions += [proposals.c.provider == owner[0], proposals.c.proposer == owner[1]]
        async with self._database.begin() as connection:
            total = (await connection.execute(select(func.count()).select_from(proposals).where(*conditions))).scalar()
            page = select(proposals).where(*conditions).order_by(proposals.c.created_at.desc(), proposals.c.id)
            rows = await _fetch(connection, page.offset(offset).limit(limit))
        return [_proposal(row) for row in rows], int(total or 0)

    async def count_open_items(self, owner: tuple[str, str]) -> int:
        """How many items the open proposals of somebody hold."""
        found, _ = await self.list(owner, "open", 0, 10_000)
        return sum(len(one.items) for one in found)

    async def change(self, proposal: Proposal, content: Content) -> Proposal:
        """A new version of an open proposal. Raises Conflict when it was decided meanwhile."""
        now, version = self._clock(), proposal.version + 1
        async with self._database.begin() as connection:
            await self._set(connection, proposal, version=version, changed_at=now, **_columns(content))
            await connection.execute(proposal_versions.insert().values(_version(proposal.id, version, content, now)))
            return await _read(connection, proposal.id)

    async def settle_open(self, proposal: Proposal, state: str, by: str, reason: str = "") -> Proposal:
        """Withdraw or deny an open proposal. Raises Conflict when it was decided meanwhile."""
        now = self._clock()
        values = {"state": state, "decided_by": by, "decided_at": now, "changed_at": now, "reason": reason}
        async with self._database.begin() as connection:
            await self._set(connection, proposal, **values)
            return await _read(connection, proposal.id)

    async def comment(self, key: str, author: str, text: str) -> Proposal:
        """The proposal with one comment more."""
        values = {"proposal_id": key, "author": author, "written_at": self._clock(), "text": text}
        async with self._database.begin() as connection:
            await connection.execute(proposal_comments.insert().values(**values))
            return await _read(connection, key)

    async def begin_approval(self, proposal: Proposal, by: str, pos: Any, claim_s: float) -> Approval:
        """Mark an open proposal as being approved. Raises Conflict when it was decided meanwhile."""
        now, attempt = self._clock(), str(uuid.uuid4())
        values = {"decided_by": by, "decided_at": now, "changed_at": now, "pos": pos, "attempt": attempt}
        async with self._database.begin() as connection:
            await self._set(connection, proposal, state="approving", reason="", claimed_until=now + claim_s, **values)
            approval = Approval(await _read(connection, proposal.id), attempt, pos, by)
        self._claims[attempt] = now + claim_s
        return approval

    async def extend_claim(self, approval: Approval, claim_s: float) -> bool:
        """Say that this worker still works on an approval.

        False when its claim is over, another worker has taken it over, or the approval ended.
        """
        now, held_until = self._clock(), self._claims.get(approval.attempt, 0.0)
        mine = (proposals.c.id == approval.proposal.id) & (proposals.c.attempt == approval.attempt)
        is_held = (proposals.c.state == "approving") & (proposals.c.claimed_until == held_until)
        if held_until < now:
            return False
        async with self._database.begin() as connection:
            extended = proposals.update().where(mine & is_held).values(claimed_until=now + claim_s)
            if not (await connection.execute(extended)).rowcount:
                self._claims.pop(approval.attempt, None)
                return False
        self._claims[approval.attempt] = now + claim_s
        return True

    async def end_approval(self, approval: Approval, state: str, uids: Sequence[str], reason: str) -> Proposal:
        """Say how an approval ended: `queued`, or `open` again with the reason."""
        mine = (proposals.c.id == approval.proposal.id) & (proposals.c.attempt == approval.attempt)
        values: dict[str, Any] = {"state": state, "reason": reason, "item_uids": list(uids), "claimed_until": 0.0}
        if state == "open":
            values |= {"decided_by": None, "decided_at": None}
        async with self._database.begin() as connection:
            await connection.execute(
                proposals.update()
                .where(mine, proposals.c.state == "approving")
                .values(changed_at=self._clock(), **values)
            )
            ended = await _read(connection, approval.proposal.id)
        self._claims.pop(approval.attempt, None)
        return ended

    async def claim_abandoned(self, claim_s: float) -> Sequence[Approval]:
        """The approvals that no worker answers for any more; they are this worker's from now on."""
        from sanic_qserver.auth.storage.tables import proposals  # noqa: PLC0415

        now = self._clock()
        is_abandoned = (proposals.c.state == "approving") & (proposals.c.claimed_until < now)
        found = []
        async with self._database.begin() as connection:
            for row in await _fetch(connection, select(proposals).where(is_abandoned)):
                one = (proposals.c.id == row["id"]) & (proposals.c.claimed_until == row["claimed_until"])
                taken = await connection.execute(proposals.update().where(one).values(claimed_until=now + claim_s))
                if taken.rowcount:
                    found.append(Approval(_proposal(row), row["attempt"], row["pos"], row["decided_by"] or ""))
        self._claims.update((approval.attempt, now + claim_s) for approval in found)
        return found

    async def expire(self) -> Sequence[Proposal]:
        """Close the open proposals whose time is over. Returns them."""
        from sanic_qserver.auth.storage.tables import proposals  # noqa: PLC0415

        now = self._clock()
        is_over = (proposals.c.state == "open") & (proposals.c.expires_at <= now)
        expired = []
        async with self._database.begin() as connection:
            for row in await _fetch(connection, select(proposals).where(is_over)):
                one = (proposals.c.id == row["id"]) & (proposals.c.state == "open") & (proposals.c.expires_at <= now)
                closed = await connection.execute(proposals.update().where(one).values(state="expired", changed_at=now))
                if closed.rowcount:
                    expired.append(await _read(connection, row["id"]))
        return expired

    async def _set(self, connection: AsyncConnection, proposal: Proposal, **values: Any) -> None:
        """Change a proposal that is open and as the caller saw it. Raises Conflict or PreconditionFailed."""
        seen = (proposals.c.id == proposal.id) & (proposals.c.version == proposal.version)
        is_live = (proposals.c.state == "open") & (proposals.c.expires_at > self._clock())
        changed = await connection.execute(proposals.update().where(seen & is_live).values(**values))
        if not changed.rowcount:
            refuse_changed(proposal, await _read(connection, proposal.id), self._clock())


def refuse_changed(seen: Proposal, now: Proposal, clock_s: float) -> None:
    """Raise the error for a proposal that is not open any more, or has another version than was seen."""
    if now.state != "open":
        raise Conflict(f"The proposal is not open any more: it is {now.state}", extra={"state": now.state})
    if now.expires_at <= clock_s:
        raise Conflict("The proposal is not open any more: it is expired", extra={"state": "expired"})
    raise PreconditionFailed(
        f"The proposal has changed: version {now.version}, not {seen.version}. Look at it again",
        extra={"version": now.version},
    )


async def _read(connection: AsyncConnection, key: str) -> Proposal:
    rows = await _fetch(connection, select(proposals).where(proposals.c.id == key))
    if not rows:
        raise NotFound(f"There is no proposal '{key}'")
    found = _proposal(rows[0])
    comments, versions = proposal_comments.c, proposal_versions.c
    of_comments = select(proposal_comments).where(comments.proposal_id == key).order_by(comments.id)
    found.comments = [
        Comment(by=row["author"], at=row["written_at"], text=row["text"])
        for row in await _fetch(connection, of_comments)
    ]
    of_versions = select(proposal_versions).where(versions.proposal_id == key).order_by(versions.version)
    found.versions = [
        ProposalVersion(**{name: row[name] for name in ("version", "title", "note", "items", "changed_at")})
        for row in await _fetch(connection, of_versions)
    ]
    return found


async def _fetch(connection: AsyncConnection, query: Select[Any]) -> Sequence[RowMapping]:
    rows: Sequence[RowMapping] = (await connection.execute(query)).mappings().all()
    return rows


_AS_THEY_ARE = (
    "id", "version", "state", "title", "note", "items", "provider", "proposer", "user_group", "created_at",
    "changed_at", "expires_at", "decided_by", "decided_at", "reason", "item_uids",
)  # fmt: skip


def _proposal(row: RowMapping) -> Proposal:
    return Proposal(
        **{name: row[name] for name in _AS_THEY_ARE},
        verdicts=[ItemVerdict(**verdict) for verdict in row["verdicts"]],
        item_ids=[f"{row['id']}:{number}" for number in range(len(row["items"]))],
        user=row["proposer_user"],
    )


def _columns(content: Content) -> dict[str, Any]:
    return {
        "title": content.title,
        "note": content.note,
        "items": list(content.items),
        "verdicts": [{"valid": one.valid, "msg": one.msg} for one in content.verdicts],
    }


def _version(key: str, version: int, content: Content, now: float) -> dict[str, Any]:
    values = {name: value for name, value in _columns(content).items() if name != "verdicts"}
    return {"proposal_id": key, "version": version, "changed_at": now, **values}
