"""How often: the rate policy of a file. Which rules meet a kind of request is worked out once and kept.

What happens when shared counters are away stands on each call: `admit` lets requests continue under this worker's
own counters, counted and logged; `admit_login` refuses, since a password guesser would like nothing better.
A worker counts what it lets through itself as well: no worker ever lets more than a limit through, whatever the shared
counters do or forget.
"""

import logging
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from cachetools import FIFOCache
from msgspec import Struct

from sanic_qserver.errors import ConfigError, Overloaded, TooManyRequests
from sanic_qserver.policy.access.roles import words
from sanic_qserver.policy.files.documents import Document
from sanic_qserver.policy.files.hot_reload import WatchedFile
from sanic_qserver.policy.protocols import PASS, Attempt, Verdict
from sanic_qserver.policy.rates.concurrency import Places, Ticket
from sanic_qserver.policy.rates.counters import Counters, CountersUnavailable, Left, MemoryCounters, Refused, Taking
from sanic_qserver.policy.rates.rules import By, Limit, Matcher, RateRule, limits_of, rate_file, subject
from sanic_qserver.structs.identity import PUBLIC

log = logging.getLogger("sanic_qserver.policy")

_KEPT = 50_000  # Kinds of requests whose rules are remembered.
_KEPT_CALLERS = 5_000  # Those who call now, from their addresses: 0.7 kB each, and 4 µs to work out again.


class Bound(Struct, frozen=True):
    """One limit as a kind of request meets it."""

    rule: str
    by: By
    limit: Limit


class Met(Struct, frozen=True):
    """The limits that a kind of request meets: by requests, by items, and the header that describes them."""

    requests: tuple[Bound, ...]
    items: tuple[Bound, ...]
    every: tuple[Bound, ...]
    policy: str


class Counted(Struct, frozen=True):
    """What one attempt of a caller takes: worked out once for each caller and endpoint."""

    met: Met
    asked: tuple[Taking, ...]


class RateRules:
    """A rate-limit file worked out. Immutable: a change makes a new one.

    `share`: of every limit, this process lets one part in so many through. Raises ConfigError.
    """

    def __init__(self, document: Document, workers: int = 1, share: int = 1) -> None:
        self.document = document
        self.file = rate_file(document)
        self._rules: list[tuple[RateRule, Matcher, tuple[Limit, ...]]] = []
        for number, rule in enumerate(self.file.rates):
            where = f"{document.source}: rates.{number} ({rule.name})"
            self._rules.append((rule, Matcher(rule, self.file.exempt, where), limits_of(rule, where, share)))
        self.places = Places(self.file, document.source, workers)
        self._by_address = any(matcher.asks_address for _, matcher, _ in self._rules)
        # Most rules name nobody: only those who are named have kinds of their own.
        self._named = frozenset(name for _, matcher, _ in self._rules for name in matcher.names)
        self._of_users: dict[str, list[int]] = {}
        for number, (rule, _, _) in enumerate(self._rules):
            for name in words(rule.users) or ("",):
                self._of_users.setdefault(name, []).append(number)
        self._met: FIFOCache[tuple[object, ...], Met] = FIFOCache(_KEPT)
        self._counted: FIFOCache[tuple[object, ...], Counted] = FIFOCache(_KEPT_CALLERS)
        names = Counter(rule.name for rule in (*self.file.rates, *self.file.concurrency))
        if names and names.most_common(1)[0][1] > 1:
            raise ConfigError(f"{document.source}: two rules are named '{names.most_common(1)[0][0]}'")

    def met_by(self, attempt: Attempt) -> Met:
        """The limits that apply to an attempt of this kind."""
        access = attempt.access
        principal = access.principal
        key = (
            access.roles,
            attempt.path,
            attempt.scope,
            principal.is_service,
            principal.provider == PUBLIC.provider,
            principal.name if principal.name in self._named else "",
            attempt.address if self._by_address else "",
        )
        met = self._met.get(key)
        if met is None:
            met = self._met[key] = self._work_out(attempt)
        return met

    def counted(self, attempt: Attempt) -> Counted:
        """What an attempt takes under each of its limits."""
        principal = attempt.access.principal
        key = (principal.provider, principal.name, principal.key_id, principal.is_service, attempt.access.roles,
               attempt.path, attempt.scope, attempt.address, attempt.cost)  # fmt: skip
        counted = self._counted.get(key)
        if counted is None:
            met = self.met_by(attempt)
            asked = [_taking(one, attempt, 1) for one in met.requests]
            asked += [_taking(one, attempt, attempt.cost) for one in met.items]
            counted = self._counted[key] = Counted(met, tuple(asked))
        return counted

    def matching(self, attempt: Attempt) -> list[RateRule]:
        """The rules that apply, for `explain`."""
        return [rule for rule, _ in self._found(attempt)]

    def widens(self, old: "RateRules") -> str:
        """What is allowed here and was not under `old`: a rule that is missing or changed, a new exemption."""
        for part in ("rates", "concurrency"):
            if missing := [rule.name for rule in getattr(old.file, part) if rule not in getattr(self.file, part)]:
                return f"rule '{missing[0]}' is missing or changed"
        return "" if self.file.exempt == old.file.exempt else "the exemptions are not the same"

    def _found(self, attempt: Attempt) -> list[tuple[RateRule, tuple[Limit, ...]]]:
        """The rules that count an attempt, in the order of the file."""
        candidates = sorted({*self._of_users.get("", ()), *self._of_users.get(attempt.access.principal.name, ())})
        every = (self._rules[number] for number in candidates)
        return [(rule, limits) for rule, matcher, limits in every if matcher.matches(attempt)]

    def _work_out(self, attempt: Attempt) -> Met:
        found = self._found(attempt)

        def bound(cost: str) -> tuple[Bound, ...]:
            return tuple(Bound(r.name, r.by, limit) for r, limits in found if r.cost == cost for limit in limits)

        requests, items = bound("requests"), bound("items")
        every = [(one.limit, "") for one in requests] + [(one.limit, ';qu="items"') for one in items]
        policy = ", ".join(f'"{limit.name}";q={limit.amount};w={limit.window_s:.0f}{unit}' for limit, unit in every)
        return Met(requests, items, (*requests, *items), policy)


class RateLimits:
    """The rate policy: counts what is attempted under the rules in force."""

    def __init__(
        self,
        rules: RateRules | WatchedFile[RateRules],
        counters: Counters | None = None,
        warnings: list[str] | None = None,
    ) -> None:
        """`counters`: shared ones; None counts in this process. `warnings` is told while shared ones are away."""
        self.watched = rules if isinstance(rules, WatchedFile) else None
        self._rules = rules.current if isinstance(rules, WatchedFile) else rules
        self._own = MemoryCounters()
        self._shared = counters
        self._warnings = [] if warnings is None else warnings
        self._told_at = -math.inf
        self.failure_count = 0

    @property
    def rules(self) -> RateRules:
        """What is in force now."""
        if self.watched is not None and self.watched.current is not self._rules:
            new = self.watched.current
            new.places.inherit(self._rules.places)
            self._rules = new
        return self._rules

    @property
    def counts_requests(self) -> bool:
        """Whether any rule counts requests in flight."""
        return self.rules.places.counts_requests

    async def admit(self, attempt: Attempt) -> Verdict:
        """Count the attempt. Raises TooManyRequests. When shared counters are away, this worker's own count."""
        counted = self.rules.counted(attempt)
        met = counted.met
        if not met.policy:
            return PASS
        asked = counted.asked
        left = self._own.take_now(asked) if self._shared is None else await self._count(asked)
        return _verdict(left, met.every, met)

    async def admit_items(self, attempt: Attempt) -> None:
        """Count the further items of a batch: `attempt.cost` of them. The request itself was counted before.

        Raises TooManyRequests. When shared counters are away, this worker's own count.
        """
        met = self.rules.met_by(attempt)
        if met.items and attempt.cost > 0:
            _verdict(await self._count([_taking(one, attempt, attempt.cost) for one in met.items]), met.items, met)

    async def admit_login(self, attempt: Attempt) -> Verdict:
        """Count a try to log in. Raises TooManyRequests; and Overloaded (503) when shared counters are away."""
        met = self.rules.met_by(attempt)
        asked = [_taking(one, attempt, 1) for one in met.requests]
        if self._shared is None:
            return _verdict(self._own.take_now(asked), met.requests, met)
        try:
            return _verdict(await self._shared.take(asked), met.requests, met)
        except CountersUnavailable as error:
            self._tell(error)
            raise Overloaded("Logins cannot be counted now, so that none is let in", headers=_RETRY) from None

    async def enter(self, attempt: Attempt) -> Ticket:
        """Take a place under the concurrency rules. Raises TooManyRequests. Counted in this process, always."""
        return self.rules.places.enter(attempt)

    def leave(self, ticket: object) -> None:
        """Give the place back."""
        if isinstance(ticket, Ticket):
            ticket.give_back()

    async def start(self) -> None:
        """Nothing to begin: shared counters connect at their first use."""

    async def reload(self) -> None:
        """Nothing but the file, which is looked at elsewhere."""

    async def stop(self) -> None:
        """Close the connections to shared counters."""
        if self._shared is not None:
            await self._shared.close()

    async def _count(self, asked: Sequence[Taking]) -> Refused | list[Left]:
        if self._shared is None:
            return self._own.take_now(asked)
        if (refused := self._own.look(asked)) is not None:  # Shared counters that forgot do not open the door again.
            return refused
        try:
            left = await self._shared.take(asked)
        except CountersUnavailable as error:
            self._tell(error)
            return self._own.take_now(asked)
        if not isinstance(left, Refused):
            self._own.add(asked)
        if _AWAY in self._warnings:
            self._warnings.remove(_AWAY)
        return left

    def _tell(self, error: CountersUnavailable) -> None:
        self.failure_count += 1
        if _AWAY not in self._warnings:
            self._warnings.append(_AWAY)
        if time.monotonic() - self._told_at > 10:
            self._told_at = time.monotonic()
            log.error("%s (%s); %d requests so far", _AWAY, error, self.failure_count)


_AWAY = "The shared counters of rate limits are away: each worker counts for itself, and nobody can log in"
_RETRY: Mapping[str, str] = {"Retry-After": "2"}


def _verdict(left: Refused | list[Left], bounds: tuple[Bound, ...], met: Met) -> Verdict:
    """Headers about the tightest limit, or the refusal."""
    if isinstance(left, Refused):
        raise refusal(bounds[left.which], left.retry_s, met.policy)
    if not left:
        return PASS
    tightest, least = 0, math.inf
    for number, one in enumerate(left):
        if (share := one.remaining / bounds[number].limit.amount) < least:
            tightest, least = number, share
    remaining, reset_s = left[tightest]
    told = f'"{bounds[tightest].limit.name}";r={remaining};t={math.ceil(reset_s)}'
    return Verdict(headers={"RateLimit-Policy": met.policy, "RateLimit": told})


def refusal(bound: Bound, retry_s: float, policy: str) -> TooManyRequests:
    """The error that names the rule, and when to try again (never, for a batch that is larger than the limit)."""
    limit = bound.limit
    allowed = f"{limit.amount} in {limit.window_s:g} s"
    if math.isinf(retry_s):
        text = f"Rule '{bound.rule}' allows {allowed}: this is more than that"
        return TooManyRequests(text, extra={"rule": bound.rule})
    wait_s = max(1, math.ceil(retry_s))
    return TooManyRequests(
        f"Rule '{bound.rule}' allows {allowed}; try again in {wait_s} s",
        headers={
            "Retry-After": str(wait_s),
            "RateLimit-Policy": policy,
            "RateLimit": f'"{limit.name}";r=0;t={wait_s}',
        },
        extra={"rule": bound.rule, "violated-policies": [limit.name]},
    )


def _taking(bound: Bound, attempt: Attempt, cost: int) -> Taking:
    return Taking((bound.rule, subject(bound.by, attempt)), bound.limit.amount, bound.limit.window_s, cost)
