"""Failed logins, counted by account and by address: after some, the next must wait, twice as long each time.

The counts stand in the database of logins, so that several workers do not multiply the tries. When it does not
answer, nobody logs in (fails closed). Unknown accounts are counted like known ones: nothing tells them apart.
"""

import hashlib
import math
from collections.abc import Callable

from sqlalchemy import delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from sanic_qserver.auth.database import Database
from sanic_qserver.auth.tables import attempts
from sanic_qserver.errors import TooManyRequests
from sanic_qserver.login_config import AttemptsConfig


class Attempts:
    """Asked before a login, told after it."""

    def __init__(self, database: Database, config: AttemptsConfig, clock: Callable[[], float]) -> None:
        self._database = database
        self._config = config
        self._clock = clock

    async def check(self, provider: str, username: str, address: str) -> bool:
        """Whether there were failures. Raises TooManyRequests with `Retry-After` while the next must wait."""
        ids = self._ids(provider, username, address)
        async with self._database.begin() as connection:
            rows = (await connection.execute(select(attempts).where(attempts.c.id.in_(ids)))).all()
        now = self._clock()
        wait_s = max((row.failed_at + self._delay_s(row.failures, ids[row.id]) - now for row in rows), default=0.0)
        if wait_s > 0:
            raise TooManyRequests(
                "Too many failed logins. Wait before the next",
                headers={"Retry-After": str(math.ceil(wait_s))},
                extra={"rule": "login_attempts"},
            )
        return bool(rows)

    async def failed(self, provider: str, username: str, address: str) -> None:
        """Count a failure. One long after the last begins anew."""
        now = self._clock()
        make = sqlite.insert if self._database.is_sqlite else postgresql.insert
        async with self._database.begin() as connection:
            old = attempts.c.failed_at < now - self._config.forget_after_s
            ids = sorted(self._ids(provider, username, address))  # In one order, or two workers wait for each other.
            await connection.execute(delete(attempts).where(attempts.c.id.in_(ids), old))
            for one in ids:
                row = make(attempts).values(id=one, failures=1, failed_at=now)
                await connection.execute(
                    row.on_conflict_do_update(
                        index_elements=["id"], set_={"failures": attempts.c.failures + 1, "failed_at": now}
                    )
                )

    async def succeeded(self, provider: str, username: str, address: str) -> None:
        """The account is free again. The address is not: one good account must not open the way to others."""
        account = next(iter(self._ids(provider, username, address)))
        async with self._database.begin() as connection:
            await connection.execute(
                update(attempts).where(attempts.c.id == account, attempts.c.failures > 0).values(failures=0)
            )

    def _ids(self, provider: str, username: str, address: str) -> dict[str, int]:
        """Ids of what is counted, and how many failures each has free.

        An account has little free from one address and much from all together: else anybody could lock anybody out.
        """
        account = f"{provider}\0{username.strip().casefold()}"
        counted = {
            _id("account", f"{account}\0{address}"): self._config.free,
            _id("everywhere", account): self._config.free_by_account,
        }
        if address:
            counted[_id("address", address)] = self._config.free_by_address
        return counted

    def _delay_s(self, failures: int, free: int) -> float:
        over = failures - free
        if over < 0:
            return 0.0
        return min(self._config.first_delay_s * 2.0 ** min(over, 30), self._config.longest_delay_s)


def _id(kind: str, text: str) -> str:
    return f"{kind}:{hashlib.sha256(text.encode()).hexdigest()}"
