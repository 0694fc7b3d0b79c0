"""Concurrency limits: how many streams may be open, and how many requests in flight, by rule and by caller.

Slots are counted in this process; with replicas in their Redis as well (`shared_slots.py`).
"""

from collections.abc import Iterable

from sanic_qserver.errors import TooManyRequests
from sanic_qserver.policy.protocols import Attempt
from sanic_qserver.policy.rates.rules import ConcurrencyRule, Matcher, RateFile, subject

Key = tuple[str, str]


class Slots:
    """The concurrency slots that one request or stream holds. Releasing them twice is harmless."""

    __slots__ = ("_counts", "_keys", "holder", "rules")

    def __init__(self, counts: dict[Key, int], keys: list[Key], rules: "list[ConcurrencyRule]") -> None:
        self._counts = counts
        self._keys = keys
        self.rules = rules
        self.holder = ""  # Among the slots of all replicas.

    @property
    def wanted(self) -> list[tuple[Key, int]]:
        """What is taken, and the most of each."""
        return [(key, rule.most) for key, rule in zip(self._keys, self.rules, strict=True)]

    def release(self) -> None:
        """Release the slots."""
        for key in self._keys:
            count = self._counts.get(key, 0) - 1
            if count > 0:
                self._counts[key] = count
            else:
                self._counts.pop(key, None)
        self._keys = []


NO_SLOTS = Slots({}, [], [])


class ConcurrencyLimits:
    """The concurrency rules of a file, and the slots taken under them."""

    def __init__(self, file: RateFile, source: str) -> None:
        """Raises ConfigError."""
        self._counts: dict[Key, int] = {}
        self._rules: list[tuple[ConcurrencyRule, Matcher]] = []
        for number, rule in enumerate(file.concurrency):
            where = f"{source}: concurrency.{number} ({rule.name})"
            self._rules.append((rule, Matcher(rule, file.exempt, where)))
        self.counts_requests = any(rule.of == "requests" for rule, _ in self._rules)

    def inherit(self, old: "ConcurrencyLimits") -> None:
        """Take over the counts of the rules before a change: what is open stays counted."""
        self._counts = old._counts  # noqa: SLF001  # another of the same class

    def enter(self, attempt: Attempt) -> Slots:
        """Take a slot under every matching rule, or none at all. Raises TooManyRequests."""
        kind = "streams" if attempt.is_stream else "requests"
        keys: list[Key] = []
        rules: list[ConcurrencyRule] = []
        for rule in self._matching(attempt, kind):
            key = (rule.name, subject(rule.by, attempt))
            if self._counts.get(key, 0) >= rule.most:
                raise too_many(rule)
            keys.append(key)
            rules.append(rule)
        for key in keys:
            self._counts[key] = self._counts.get(key, 0) + 1
        return Slots(self._counts, keys, rules) if keys else NO_SLOTS

    def matching(self, attempt: Attempt) -> list[ConcurrencyRule]:
        """The rules that apply, for `explain`."""
        return list(self._matching(attempt, "streams" if attempt.is_stream else "requests"))

    def _matching(self, attempt: Attempt, kind: str) -> Iterable[ConcurrencyRule]:
        return (rule for rule, matcher in self._rules if rule.of == kind and matcher.matches(attempt))


def too_many(rule: ConcurrencyRule) -> TooManyRequests:
    """The error that names the rule."""
    text = f"Rule '{rule.name}' allows {rule.most} {rule.of} at once"
    return TooManyRequests(text, headers={"Retry-After": "1"}, extra={"rule": rule.name})
