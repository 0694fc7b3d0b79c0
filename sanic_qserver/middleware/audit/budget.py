"""How many denials are recorded: so many a second of each principal and of each address; the rest is counted.

A flood from one address must fill neither the disk nor the budget of somebody else: what a known user is denied is
recorded meanwhile. What was left out is told in an entry of its own, with the addresses and users that had most of it.
"""

import time
from collections import Counter
from collections.abc import Callable

from sanic_qserver.structs.audit import AuditEntry
from sanic_qserver.structs.canonical import find_network
from sanic_qserver.structs.identity import PUBLIC

OF_A_PRINCIPAL = 50
OF_AN_ADDRESS = 20
OF_ALL_PRINCIPALS = 500
OF_ALL_ADDRESSES = 100
_TOLD = 10  # Addresses and users that are named in the entry about the rest.
_COUNTED = 1000  # Of them that are told apart within a second.


class DenialBudget:
    """What may still be recorded within this second. `clock` is monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._second = 0
        self._taken: Counter[str] = Counter()
        self._left_out: Counter[tuple[str, str]] = Counter()

    def take(self, entry: AuditEntry) -> bool:
        """Whether a denial is to be recorded. Ask `summary` first, when a new second has begun."""
        if entry.user and entry.provider != PUBLIC.provider:
            who, free, free_of_all, kind = f"{entry.provider}:{entry.user}", OF_A_PRINCIPAL, OF_ALL_PRINCIPALS, "users"
        else:
            who, free, free_of_all, kind = find_network(entry.address), OF_AN_ADDRESS, OF_ALL_ADDRESSES, "addresses"
        mine = f"{kind} {who}"
        if self._taken[kind] < free_of_all and self._taken[mine] < free:
            self._taken[kind] += 1
            self._taken[mine] += 1
            return True
        key = (kind, who)
        self._left_out[key if key in self._left_out or len(self._left_out) < _COUNTED else (kind, "others")] += 1
        return False

    @property
    def has_rest(self) -> bool:
        """Whether something was left out that no summary has told."""
        return bool(self._left_out)

    def summary(self, *, at_end: bool = False) -> AuditEntry | None:
        """What was left out within the last second, when that is over, or with `at_end`. None for nothing."""
        second = int(self._clock())
        if second == self._second and not at_end:
            return None
        left_out = self._left_out
        self._second, self._taken, self._left_out = second, Counter(), Counter()
        if not left_out:
            return None
        count = left_out.total()
        more: dict[str, object] = {"suppressed": count}
        for kind in ("users", "addresses"):
            if most := [(who, n) for (of, who), n in left_out.most_common() if of == kind][:_TOLD]:
                more[kind] = dict(most)
        return AuditEntry(
            at=time.time(),
            outcome="denied",
            endpoint="",
            status=429,
            code="suppressed",
            detail=f"{count} more denials were not recorded one by one",
            more=more,
        )
