"""What one worker has measured, as plain numbers, and how those of several are added up."""

from bisect import bisect_left
from time import perf_counter

from msgspec import Struct, field

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


def _no_counts() -> list[int]:
    return [0] * (len(BUCKETS_S) + 1)


class RowFigures(Struct):
    """What is counted of one row. The library's own counters cost 2 µs a request: they lock for threads."""

    by_status: dict[int, int] = field(default_factory=dict)
    buckets: list[int] = field(default_factory=_no_counts)
    seconds: float = 0.0

    def count(self, status: int, started_at: float) -> float:
        """Count an answer: its status, and `perf_counter()` at its start. The seconds that it took."""
        taken_s = perf_counter() - started_at
        self.by_status[status] = self.by_status.get(status, 0) + 1
        self.buckets[bisect_left(BUCKETS_S, taken_s)] += 1
        self.seconds += taken_s
        return taken_s

    def cumulated(self) -> list[tuple[str, float]]:
        """The buckets as Prometheus wants them: each with all before it."""
        total, buckets = 0, []
        for bound, count in zip((*map(str, BUCKETS_S), "+Inf"), self.buckets, strict=True):
            total += count
            buckets.append((bound, float(total)))
        return buckets

    def add(self, other: "RowFigures") -> None:
        """Count what another worker has counted of the same row."""
        for status, count in other.by_status.items():
            self.by_status[status] = self.by_status.get(status, 0) + count
        self.buckets = [mine + theirs for mine, theirs in zip(self.buckets, other.buckets, strict=True)]
        self.seconds += other.seconds


class Figures(Struct):
    """Counters grow for ever; gauges are of the moment, and empty for a worker that has ended.

    `rows` by verb and path (`GET /status`), `counters` by name and outcome.
    """

    rows: dict[str, RowFigures] = field(default_factory=dict)
    counters: dict[str, dict[str, float]] = field(default_factory=dict)
    gauges: dict[str, float] = field(default_factory=dict)

    def add(self, other: "Figures") -> None:
        """Add the counters of another one. Gauges are left: each is of one worker."""
        for name, row in other.rows.items():
            self.rows.setdefault(name, RowFigures()).add(row)
        for name, counts in other.counters.items():
            mine = self.counters.setdefault(name, {})
            for outcome, count in counts.items():
                mine[outcome] = mine.get(outcome, 0) + count


def add_up(several: "list[Figures]") -> Figures:
    """The counters of all together, in new figures without gauges."""
    total = Figures()
    for one in several:
        total.add(one)
    return total
