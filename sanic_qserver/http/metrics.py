"""Prometheus metrics: plain numbers on the way of a request, given their names when they are scraped.

One registry an application. Nothing here is labelled with what a client sends.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from time import perf_counter

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from sanic_qserver.api.endpoint import Endpoint
from sanic_qserver.manager.client.client import ManagerClient
from sanic_qserver.manager.read_cache import ReadCache

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

Count = Callable[[int, float], None]


class _Row:
    """What is counted of one row. The library's own counters cost 2 µs a request: they lock for threads."""

    __slots__ = ("buckets", "by_status", "seconds")

    def __init__(self) -> None:
        self.by_status: dict[int, int] = {}
        self.buckets = [0] * (len(BUCKETS_S) + 1)
        self.seconds = 0.0

    def count(self, status: int, started_at: float) -> None:
        """Count an answer: its status, and `perf_counter()` at its start."""
        taken_s = perf_counter() - started_at
        self.by_status[status] = self.by_status.get(status, 0) + 1
        self.buckets[bisect_left(BUCKETS_S, taken_s)] += 1
        self.seconds += taken_s

    def cumulated(self) -> list[tuple[str, float]]:
        """The buckets as Prometheus wants them: each with all before it."""
        total, buckets = 0, []
        for bound, count in zip((*map(str, BUCKETS_S), "+Inf"), self.buckets, strict=True):
            total += count
            buckets.append((bound, float(total)))
        return buckets


class Metrics:
    """What is measured. `of` gives a row's own counter; `text` is what Prometheus reads."""

    def __init__(self, manager: ManagerClient, reads: ReadCache) -> None:
        self._manager = manager
        self._read_cache = reads
        self._rows: dict[tuple[str, str], _Row] = {}
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def of(self, row: Endpoint) -> Count:
        """The function that counts one answer of a row: its status, and `perf_counter()` at its start."""
        return self._rows.setdefault((row.verb, row.path), _Row()).count

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def describe(self) -> Iterator[Metric]:
        """Nothing to say at registration: figures are asked for when they are scraped."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Called at each scrape."""
        yield from self._of_requests()
        manager, reads = self._manager, self._read_cache
        yield GaugeMetricFamily("qserver_manager_connected", "1 with a connection.", value=int(manager.is_connected))
        yield GaugeMetricFamily("qserver_manager_waiting_calls", "Calls not sent yet.", value=manager.waiting_count)
        yield GaugeMetricFamily("qserver_manager_calls_in_flight", "Calls sent.", value=manager.in_flight_count)
        yield GaugeMetricFamily(
            "qserver_manager_calls_per_second", "RE Manager's rate, measured.", value=manager.rate.calls_per_s
        )
        yield _by_outcome("qserver_manager_calls", "Calls to RE Manager.", manager.counts)
        yield _by_outcome("qserver_reads", "Reads: asked for, sent, answered from the cache.", reads.counts)
        yield GaugeMetricFamily("qserver_kept_bytes", "Bytes of cached replies.", value=reads.cached_bytes)

    def _of_requests(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "qserver_http_requests", "Requests answered.", labels=("method", "path", "status")
        )
        seconds = HistogramMetricFamily(
            "qserver_http_request_seconds", "Time from the gate to the answer.", labels=("method", "path")
        )
        for (verb, path), row in self._rows.items():
            for status, count in row.by_status.items():
                requests.add_metric((verb, path, str(status)), count)
            if row.by_status:
                seconds.add_metric((verb, path), row.cumulated(), row.seconds)
        yield requests
        yield seconds


def _by_outcome(name: str, text: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=("outcome",))
    for outcome, value in counts.items():
        family.add_metric((outcome,), value)
    return family
