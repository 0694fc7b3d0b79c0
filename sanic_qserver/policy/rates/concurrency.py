"""How many at once: open streams and requests in flight, by rule and by whom they count.

Counted in this process. With several workers each gets its share of `most`, so that all together never exceed it.
"""

from collections.abc import Iterable

from sanic_qserver.errors import ConfigError, TooManyRequests
from sanic_qserver.policy.protocols import Attempt
from sanic_qserver.policy.rates.rules import Matcher, PlaceRule, RateFile, subject

Key = tuple[str, str]


class Ticket:
    """The places that one request or stream holds. Given back once; twice is harmless."""

    __slots__ = ("_keys", "_taken")

    def __init__(self, taken: dict[Key, int], keys: list[Key]) -> None:
        self._taken = taken
        self._keys = keys

    def give_back(self) -> None:
        """Give the places back."""
        for key in self._keys:
            count = self._taken.get(key, 0) - 1
            if count > 0:
                self._taken[key] = count
            else:
                self._taken.pop(key, None)
        self._keys = []


NO_TICKET = Ticket({}, [])


class Places:
    """The concurrency rules of a file, and the places taken under them."""

    def __init__(self, file: RateFile, source: str, workers: int) -> None:
        """Raises ConfigError."""
        self._workers = workers
        self._taken: dict[Key, int] = {}
        self._rules: list[tuple[PlaceRule, Matcher]] = []
        for number, rule in enumerate(file.concurrency):
            where = f"{source}: concurrency.{number} ({rule.name})"
            if rule.most < workers:
                raise ConfigError(f"{where}: most: {rule.most} is less than [server] workers = {workers}")
            self._rules.append((rule, Matcher(rule, file.exempt, where)))
        self.counts_requests = any(rule.of == "requests" for rule, _ in self._rules)

    def inherit(self, old: "Places") -> None:
        """Go on counting where another left off: what is open stays open when the rules change."""
        self._taken = old._taken  # noqa: SLF001  # another of the same class

    def enter(self, attempt: Attempt) -> Ticket:
        """Take a place under every rule that matches. Raises TooManyRequests, and takes none then."""
        kind = "streams" if attempt.is_stream else "requests"
        keys: list[Key] = []
        for rule in self._matching(attempt, kind):
            key = (rule.name, subject(rule.by, attempt))
            most = rule.most // self._workers
            if self._taken.get(key, 0) >= most:
                raise TooManyRequests(
                    f"Rule '{rule.name}' allows {rule.most} {kind} at once",
                    headers={"Retry-After": "1"},
                    extra={"rule": rule.name},
                )
            keys.append(key)
        for key in keys:
            self._taken[key] = self._taken.get(key, 0) + 1
        return Ticket(self._taken, keys) if keys else NO_TICKET

    def matching(self, attempt: Attempt) -> list[PlaceRule]:
        """The rules that apply, for `explain`."""
        return list(self._matching(attempt, "streams" if attempt.is_stream else "requests"))

    def _matching(self, attempt: Attempt, kind: str) -> Iterable[PlaceRule]:
        return (rule for rule, matcher in self._rules if rule.of == kind and matcher.matches(attempt))
