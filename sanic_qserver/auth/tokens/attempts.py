"""Failed logins, counted by account and by address: after some, the next must wait, twice as long each time.

Rules:
1. A try is counted before the password is looked at, and taken back when it was good: however many come at once,
   no more are looked at than are free. Those that come too early only because of others under way wait for these.
2. The counts stand in the database of logins, so that several workers do not multiply the tries. When it does not
   answer, nobody logs in (fails closed).
3. Unknown accounts are counted like known ones: nothing tells them apart.
4. One address, or one /64 of IPv6, locks nobody out elsewhere: it adds little to what is counted of all addresses.
"""

import asyncio
import hashlib
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, and_, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from sanic_qserver.auth.storage.database import Database
from sanic_qserver.auth.storage.tables import attempts
from sanic_qserver.config.logins import AttemptsConfig
from sanic_qserver.errors import Overloaded, TooManyRequests
from sanic_qserver.structs.canonical import find_network, folded

_MOST_WAITING = 8  # Tries that wait for others of the same account or address to end; more are refused.


@dataclass(slots=True)
class Try:
    """One try to log in. Neither good nor bad (the directory is away): it does not count."""

    ids: Mapping[str, int]
    account: str = ""
    at: float = 0.0
    before: dict[str, float] = field(default_factory=dict)
    is_good: bool | None = None


class _MustWait(Exception):
    """Some of what is counted says no; `wait_s` until it does not, `ids` say so."""

    def __init__(self, wait_s: float, ids: list[str]) -> None:
        super().__init__()
        self.wait_s = wait_s
        self.ids = ids


class Attempts:
    """Counts tries to log in."""

    def __init__(self, database: Database, config: AttemptsConfig, clock: Callable[[], float]) -> None:
        self._database = database
        self._config = config
        self._clock = clock
        self._turn = asyncio.Lock()  # So that SQLite's writers need not poll, and `_pending` fits what is written.
        self._pending: Counter[str] = Counter()
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def reserve(self, provider: str, username: str | None, address: str) -> AsyncIterator[Try]:
        """Count a try for as long as the body looks at it; the body sets `is_good`. None: of the address only.

        Raises TooManyRequests with `Retry-After` while the next must wait.
        """
        one = self._try(provider, username, address)
        await self._take(one)
        try:
            yield one
        finally:
            try:
                if one.is_good is not False:  # None: it was not looked at.
                    await asyncio.shield(self._give_back(one))
            finally:
                self._settle(one)

    async def _take(self, one: Try) -> None:
        while True:
            try:
                async with self._turn:
                    others = {id_ for id_ in one.ids if self._pending[id_]}
                    await self._count(one)
                    self._pending.update(one.ids.keys())
            except _MustWait as no:
                if pending := next((id_ for id_ in no.ids if self._pending[id_]), None):
                    await self._until_settled(pending)
                elif others.isdisjoint(no.ids):  # Else they have ended meanwhile: look again.
                    raise TooManyRequests(
                        "Too many failed logins. Wait before the next",
                        headers={"Retry-After": str(math.ceil(no.wait_s))},
                        extra={"rule": "login_attempts"},
                    ) from None
            else:
                return

    async def _until_settled(self, id_: str) -> None:
        waiting = self._waiting.setdefault(id_, [])
        if len(waiting) >= _MOST_WAITING:
            raise Overloaded("Too many logins at once", headers={"Retry-After": "2"})
        waiting.append(settled := asyncio.get_running_loop().create_future())
        await settled

    def _settle(self, one: Try) -> None:
        for id_ in one.ids:
            self._pending[id_] -= 1
            if not self._pending[id_]:
                del self._pending[id_]
            for settled in self._waiting.pop(id_, ()):
                if not settled.done():
                    settled.set_result(None)

    async def _count(self, one: Try) -> None:
        """Count the try in one transaction, or raise _MustWait and leave everything as it was."""
        now, ids = self._clock(), sorted(one.ids)  # In one order, or two workers wait for each other.
        async with self._database.begin() as connection:
            old = attempts.c.failed_at < now - self._config.forget_after_s
            await connection.execute(delete(attempts).where(attempts.c.id.in_(ids), old))
            rows = await self._locked(connection, ids, now)
            waits = {id_: row.failed_at + self._delay_s(row.failures, one.ids[id_]) - now for id_, row in rows.items()}
            if blocking := [id_ for id_, wait_s in waits.items() if wait_s > 0]:
                raise _MustWait(max(waits.values()), blocking)
            counted = [id_ for id_ in ids if self._counts(id_, one, rows)]
            one.at, one.before = now, {id_: rows[id_].failed_at for id_ in counted}
            grown = update(attempts).where(attempts.c.id.in_(counted))
            await connection.execute(grown.values(failures=attempts.c.failures + 1, failed_at=now))

    async def _locked(self, connection: AsyncConnection, ids: list[str], now: float) -> dict[str, Row[Any]]:
        """The rows, made where there are none, and locked against everybody else until the end of the transaction."""
        make = sqlite.insert if self._database.is_sqlite else postgresql.insert
        for id_ in ids:  # This takes SQLite's lock; PostgreSQL's are taken by the SELECT.
            await connection.execute(make(attempts).values(id=id_, failures=0, failed_at=now).on_conflict_do_nothing())
        query = select(attempts).where(attempts.c.id.in_(ids)).order_by(attempts.c.id).with_for_update()
        return {row.id: row for row in (await connection.execute(query)).all()}

    def _counts(self, id_: str, one: Try, rows: Mapping[str, Row[Any]]) -> bool:
        """Of an account everywhere, each address counts only what it has free."""
        is_everywhere = id_.startswith("everywhere:")
        return not is_everywhere or rows[one.account].failures < self._config.free

    async def _give_back(self, one: Try) -> None:
        """The try was not a failure. After a good one the account is free again, at this address.

        The address is not: one good account must not open the way to others.
        """
        async with self._turn, self._database.begin() as connection:
            for id_, before in sorted(one.before.items()):
                mine = attempts.c.id == id_
                if one.is_good and id_ == one.account:
                    await connection.execute(update(attempts).where(mine).values(failures=0))
                    continue
                await connection.execute(
                    update(attempts).where(mine, attempts.c.failures > 0).values(failures=attempts.c.failures - 1)
                )
                mine = and_(mine, attempts.c.failed_at == one.at)
                await connection.execute(update(attempts).where(mine).values(failed_at=before))

    def _try(self, provider: str, username: str | None, address: str) -> Try:
        """Ids of what is counted, and how many failures each has free.

        An account has little free from one address and much from all together: else anybody could lock anybody out.
        """
        network = find_network(address)
        counted: dict[str, int] = {}
        here = ""
        if username is not None:
            account = f"{provider}\0{folded(username.strip())}"
            here = _id("account", f"{account}\0{network}")
            counted[here] = self._config.free
            counted[_id("everywhere", account)] = self._config.free_by_account
        if network:
            counted[_id("address", network)] = self._config.free_by_address
        return Try(ids=counted, account=here)

    def _delay_s(self, failures: int, free: int) -> float:
        over = failures - free
        if over < 0:
            return 0.0
        return min(self._config.first_delay_s * 2.0 ** min(over, 30), self._config.longest_delay_s)


def _id(kind: str, text: str) -> str:
    return f"{kind}:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"
