"""Concurrency limits: how many streams may be open, and how many requests in flight, by rule and by caller.

Slots are counted in this process. Each of several workers gets its share of `most`, so that together they never
exceed it.
"""

from collections.abc import Iterable

from sanic_qserver.errors import ConfigError, TooManyRequests
from sanic_qserver.policy.protocols import Attempt
from sanic_qserver.policy.rates.rules import ConcurrencyRule, Matcher, RateFile, subject

Key = tuple[str, str]


class Slots:
    """The concurrency slots that one request or stream holds. Releasing them twice is harmless."""

    __slots__ = ("_counts", "_keys")

    def __init__(self, counts: dict[Key, int], keys: list[Key]) -> None:
        self._counts = counts
        self._keys = keys

    def release(self) -> None:
        """Release the slots."""
        for key in self._keys:
            count = self._counts.get(key, 0) - 1
            if count > 0:
                self._counts[key] = count
            else:
                self._counts.pop(key, None)
        self._keys = []


NO_SLOTS = Slots({}, [])


class ConcurrencyLimits:
    """The concurrency rules of a file, and the slots taken under them."""

    def __init__(self, file: RateFile, source: str, workers: int) -> None:
        """Raises ConfigError."""
        self._workers = workers
        self._counts: dict[Key, int] = {}
        self._rules: list[tuple[ConcurrencyRule, Matcher]] = []
        for number, rule in enumerate(file.concurrency):
            where = f"{source}: concurrency.{number} ({rule.name})"
            if rule.most < workers:
                raise ConfigError(f"{where}: most: {rule.most} is less than [server] workers = {workers}")
            self._rules.append((rule, Matcher(rule, file.exempt, where)))
        self.counts_requests = any(rule.of == "requests" for rule, _ in self._rules)

    def inherit(self, old: "ConcurrencyLimits") -> None:
        """Take over the counts of the rules before a change: what is open stays counted."""
        self._counts = old._counts  # noqa: SLF001  # another of the same class

    def enter(self, attempt: Attempt) -> Slots:
        """Take a slot under every matching rule, or none at all. Raises TooManyRequests."""
        kind = "streams" if attempt.is_stream else "requests"
        keys: list[Key] = []
        for rule in self._matching(attempt, kind):
            key = (rule.name, subject(rule.by, attempt))
            most = rule.most // self._workers
            if self._counts.get(key, 0) >= most:
                raise TooManyRequests(
                    f"Rule '{rule.name}' allows {rule.most} {kind} at once",
                    headers={"Retry-After": "1"},
                    extra={"rule": rule.name},
                )
            keys.append(key)
        for key in keys:
            self._counts[key] = self._counts.get(key, 0) + 1
        return Slots(self._counts, keys) if keys else NO_SLOTS

    def matching(self, attempt: Attempt) -> list[ConcurrencyRule]:
        """The rules that apply, for `explain`."""
        return list(self._matching(attempt, "streams" if attempt.is_stream else "requests"))

    def _matching(self, attempt: Attempt, kind: str) -> Iterable[ConcurrencyRule]:
        return (rule for rule, matcher in self._rules if rule.of == kind and matcher.matches(attempt))
