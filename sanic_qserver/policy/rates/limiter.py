"""The rate limiter: the rate policy of a file. Which rules apply to a kind of request is computed once and cached.

Each method says what happens when shared counters are unavailable: `admit` fails over to this worker's own counters,
and logs it; `admit_login` fails closed, because an outage must not help who guesses passwords. Each worker also counts
what it admitted itself, so that it never exceeds a limit even when the shared counters lose their data.
"""

import logging
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec import Struct

from sanic_qserver.bounded import BoundedDict
from sanic_qserver.errors import ConfigError, Overloaded, TooManyRequests
from sanic_qserver.policy.access.roles import words
from sanic_qserver.policy.files.documents import Document
from sanic_qserver.policy.files.hot_reload import ReloadedFile
from sanic_qserver.policy.protocols import PASS, Attempt, Verdict
from sanic_qserver.policy.rates.concurrency import NO_SLOTS, ConcurrencyLimits, Slots, too_many
from sanic_qserver.policy.rates.counters import (
    Charge,
    Counters,
    CountersUnavailable,
    LimitExceeded,
    LimitState,
    MemoryCounters,
)
from sanic_qserver.policy.rates.rules import By, Limit, Matcher, RateRule, parse_limits, parse_rate_file, subject
from sanic_qserver.policy.rates.shared_slots import SharedSlots
from sanic_qserver.structs.identity import PUBLIC

log = logging.getLogger("sanic_qserver.policy")

_MOST_KINDS = 50_000  # Cached: kinds of requests and the limits that apply to them.
_MOST_CALLERS = 5_000  # Cached: 0.7 kB for each caller and address; a miss costs 4 µs.


class BoundLimit(Struct, frozen=True):
    """One limit, and the rule that it comes from."""

    rule: str
    by: By
    limit: Limit


class AppliedLimits(Struct, frozen=True):
    """The limits that apply to a kind of request: by requests, by items, and the header that describes them."""

    requests: tuple[BoundLimit, ...]
    items: tuple[BoundLimit, ...]
    every: tuple[BoundLimit, ...]
    policy: str


class CallerCharges(Struct, frozen=True):
    """What one attempt of a caller costs under each limit."""

    met: AppliedLimits
    asked: tuple[Charge, ...]


class RateRules:
    """A rate-limit file, compiled. Immutable: a change of the file makes a new one. Raises ConfigError."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.file = parse_rate_file(document)
        self._rules: list[tuple[RateRule, Matcher, tuple[Limit, ...]]] = []
        for number, rule in enumerate(self.file.rates):
            where = f"{document.source}: rates.{number} ({rule.name})"
            self._rules.append((rule, Matcher(rule, self.file.exempt, where), parse_limits(rule, where)))
        self.concurrency = ConcurrencyLimits(self.file, document.source)
        self._by_address = any(matcher.asks_address for _, matcher, _ in self._rules)
        # Only users whom a rule names need a cache entry of their own.
        self._named = frozenset(name for _, matcher, _ in self._rules for name in matcher.names)
        self._of_users: dict[str, list[int]] = {}
        for number, (rule, _, _) in enumerate(self._rules):
            for name in words(rule.users) or ("",):
                self._of_users.setdefault(name, []).append(number)
        self._met: BoundedDict[tuple[object, ...], AppliedLimits] = BoundedDict(_MOST_KINDS)
        self._counted: BoundedDict[tuple[object, ...], CallerCharges] = BoundedDict(_MOST_CALLERS)
        names = Counter(rule.name for rule in (*self.file.rates, *self.file.concurrency))
        if names and names.most_common(1)[0][1] > 1:
            raise ConfigError(f"{document.source}: two rules are named '{names.most_common(1)[0][0]}'")

    def find_limits(self, attempt: Attempt) -> AppliedLimits:
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
            met = self._met[key] = self._compile(attempt)
        return met

    def find_charges(self, attempt: Attempt) -> CallerCharges:
        """What an attempt costs under each limit that applies."""
        principal = attempt.access.principal
        key = (principal.provider, principal.name, principal.key_id, principal.is_service, attempt.access.roles,
               attempt.path, attempt.scope, attempt.address, attempt.cost)  # fmt: skip
        counted = self._counted.get(key)
        if counted is None:
            met = self.find_limits(attempt)
            asked = [_charge(one, attempt, 1) for one in met.requests]
            asked += [_charge(one, attempt, attempt.cost) for one in met.items if attempt.cost]
            counted = self._counted[key] = CallerCharges(met, tuple(asked))
        return counted

    def matching(self, attempt: Attempt) -> list[RateRule]:
        """The rules that apply, for `explain`."""
        return [rule for rule, _ in self._found(attempt)]

    def describe_added_grants(self, old: "RateRules") -> str:
        """What is allowed here and was not under `old`; "" for nothing. A missing or changed rule, a new exemption."""
        for part in ("rates", "concurrency"):
            if missing := [rule.name for rule in getattr(old.file, part) if rule not in getattr(self.file, part)]:
                return f"rule '{missing[0]}' is missing or changed"
        return "" if self.file.exempt == old.file.exempt else "the exemptions are not the same"

    def _found(self, attempt: Attempt) -> list[tuple[RateRule, tuple[Limit, ...]]]:
        """The rules that match an attempt, in the order of the file."""
        candidates = sorted({*self._of_users.get("", ()), *self._of_users.get(attempt.access.principal.name, ())})
        every = (self._rules[number] for number in candidates)
        return [(rule, limits) for rule, matcher, limits in every if matcher.matches(attempt)]

    def _compile(self, attempt: Attempt) -> AppliedLimits:
        found = self._found(attempt)

        def bound(cost: str) -> tuple[BoundLimit, ...]:
            return tuple(BoundLimit(r.name, r.by, limit) for r, limits in found if r.cost == cost for limit in limits)

        requests, items = bound("requests"), bound("items")
        every = [(one.limit, "") for one in requests] + [(one.limit, ';qu="items"') for one in items]
        policy = ", ".join(f'"{limit.name}";q={limit.amount};w={limit.window_s:.0f}{unit}' for limit, unit in every)
        return AppliedLimits(requests, items, (*requests, *items), policy)


class RateLimits:
    """The rate policy: charges attempts against the rules in force."""

    def __init__(
        self,
        rules: RateRules | ReloadedFile[RateRules],
        counters: Counters | None = None,
        warnings: list[str] | None = None,
        slots: SharedSlots | None = None,
    ) -> None:
        """`counters` and `slots`: shared ones; None counts in this process. `warnings`: when those are unavailable."""
        self.watched = rules if isinstance(rules, ReloadedFile) else None
        self._rules = rules.current if isinstance(rules, ReloadedFile) else rules
        self._own = MemoryCounters()
        self._shared = counters
        self._slots = slots
        self._warnings = [] if warnings is None else warnings
        self._told_at = -math.inf
        self.failure_count = 0

    @property
    def rules(self) -> RateRules:
        """What is in force now."""
        if self.watched is not None and self.watched.current is not self._rules:
            new = self.watched.current
            new.concurrency.inherit(self._rules.concurrency)
            self._rules = new
        return self._rules

    @property
    def counts_requests(self) -> bool:
        """Whether any rule counts requests in flight."""
        return self.rules.concurrency.counts_requests

    async def admit(self, attempt: Attempt) -> Verdict:
        """Charge the attempt. Raises TooManyRequests. Falls back to this worker's counters."""
        counted = self.rules.find_charges(attempt)
        met = counted.met
        if not met.policy:
            return PASS
        asked = counted.asked
        left = self._own.charge_now(asked) if self._shared is None else await self._count(asked)
        return _verdict(left, met.every, met)

    async def admit_items(self, attempt: Attempt) -> Verdict:
        """Charge `attempt.cost` items, all or none of them; the request itself was charged before.

        Raises TooManyRequests. Falls back to this worker's counters.
        """
        met = self.rules.find_limits(attempt)
        if not met.items or attempt.cost <= 0:
            return PASS
        return _verdict(await self._count([_charge(one, attempt, attempt.cost) for one in met.items]), met.items, met)

    async def admit_login(self, attempt: Attempt) -> Verdict:
        """Charge a login attempt. Raises TooManyRequests, and Overloaded (503) when shared counters are unavailable."""
        met = self.rules.find_limits(attempt)
        asked = [_charge(one, attempt, 1) for one in met.requests]
        if self._shared is None:
            return _verdict(self._own.charge_now(asked), met.requests, met)
        try:
            return _verdict(await self._shared.take(asked), met.requests, met)
        except CountersUnavailable as error:
            self._tell(error)
            raise Overloaded(
                "Login attempts cannot be counted now, so that nobody can log in", headers=_RETRY
            ) from None

    async def enter(self, attempt: Attempt) -> Slots:
        """Take a slot under the concurrency rules. Raises TooManyRequests. Falls back to this worker's count."""
        slots = self.rules.concurrency.enter(attempt)
        if self._slots is None or slots is NO_SLOTS:
            return slots
        try:
            taken = await self._slots.take(slots.wanted)
            if isinstance(taken, int):
                raise too_many(slots.rules[taken])
        except BaseException:
            slots.release()
            raise
        slots.holder = taken
        return slots

    def leave(self, ticket: object) -> None:
        """Release the slot."""
        if isinstance(ticket, Slots):
            ticket.release()
            if self._slots is not None:
                self._slots.give_back(ticket.holder)

    async def start(self) -> None:
        """Nothing to start: shared counters connect on first use."""

    async def reload(self) -> None:
        """Nothing to do: the file is reloaded elsewhere."""

    async def stop(self) -> None:
        """Close the connections to shared counters."""
        if self._shared is not None:
            await self._shared.close()
        if self._slots is not None:
            await self._slots.close()

    async def _count(self, asked: Sequence[Charge]) -> LimitExceeded | list[LimitState]:
        if self._shared is None:
            return self._own.charge_now(asked)
        if (refused := self._own.look(asked)) is not None:  # Shared counters that lost their data must not admit more.
            return refused
        try:
            left = await self._shared.take(asked)
        except CountersUnavailable as error:
            self._tell(error)
            return self._own.charge_now(asked)
        if not isinstance(left, LimitExceeded):
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


_AWAY = "The shared rate counters are unavailable: each worker counts for itself, and nobody can log in"
_RETRY: Mapping[str, str] = {"Retry-After": "2"}


def _verdict(left: LimitExceeded | list[LimitState], bounds: tuple[BoundLimit, ...], met: AppliedLimits) -> Verdict:
    """Headers for the limit with least left. Raises the refusal."""
    if isinstance(left, LimitExceeded):
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


def refusal(bound: BoundLimit, retry_s: float, policy: str) -> TooManyRequests:
    """The error that names the rule and when to retry (never, when a batch is larger than the limit)."""
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


def _charge(bound: BoundLimit, attempt: Attempt, cost: int) -> Charge:
    return Charge((bound.rule, subject(bound.by, attempt)), bound.limit.amount, bound.limit.window_s, cost)
