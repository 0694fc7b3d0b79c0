"""Prometheus metrics: counted on the way of a request with cached children, or asked for when they are scraped.

One registry an application. Nothing here is labelled with what a client sends.
"""

from collections.abc import Callable, Iterator, Mapping
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from sanic_qserver.endpoints.endpoint import Endpoint
from sanic_qserver.endpoints.services import Services

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

Count = Callable[[int, float], None]


class Metrics:
    """What is measured. `of` gives a row's own counter; `text` is what Prometheus reads."""

    def __init__(self, services: Services) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "qserver_http_requests", "Requests answered.", ("method", "path", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "qserver_http_request_seconds", "Time from the gate to the answer.", ("method", "path"),
            buckets=_BUCKETS_S, registry=self.registry,
        )  # fmt: skip
        self.registry.register(_Asked(services))
        ProcessCollector(registry=self.registry)

    def of(self, row: Endpoint) -> Count:
        """The function that counts one answer of a row: its status, and `perf_counter()` at its start."""
        seconds = self._seconds.labels(row.verb, row.path)
        by_status: dict[int, Callable[[], None]] = {}

        def count(status: int, started_at: float) -> None:
            add = by_status.get(status)
            if add is None:
                add = by_status[status] = self._requests.labels(row.verb, row.path, str(status)).inc
            add()
            seconds.observe(perf_counter() - started_at)

        return count

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class _Asked:
    """Figures that the services keep anyway."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        """Called at each scrape."""
        manager, reads = self._services.manager, self._services.reads
        yield GaugeMetricFamily("qserver_manager_connected", "1 with a connection.", value=int(manager.is_connected))
        yield GaugeMetricFamily("qserver_manager_waiting_calls", "Calls not sent yet.", value=manager.waiting_count)
        yield GaugeMetricFamily("qserver_manager_calls_in_flight", "Calls sent.", value=manager.in_flight_count)
        yield GaugeMetricFamily(
            "qserver_manager_calls_per_second", "RE Manager's rate, measured.", value=manager.rate.calls_per_s
        )
        yield _by_outcome("qserver_manager_calls", "Calls to RE Manager.", manager.counts)
        yield _by_outcome("qserver_reads", "Reads: asked for, sent, answered from kept bytes.", reads.counts)
        yield GaugeMetricFamily("qserver_kept_bytes", "Replies kept under their uid.", value=reads.kept_bytes)

    def describe(self) -> Iterator[Metric]:
        """Nothing to say at registration: figures have no names before they are asked for."""
        return iter(())


def _by_outcome(name: str, text: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=("outcome",))
    for outcome, value in counts.items():
        family.add_metric((outcome,), value)
    return family
