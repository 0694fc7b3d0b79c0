"""Figures -> the text format of Prometheus: every metric's name and what it means. docs/operations.md explains them."""

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from sanic_qserver.http.metrics.figures import Figures, add_up

COUNTERS = {
    "qserver_manager_calls": ("Calls to RE Manager.", "outcome"),
    "qserver_reads": ("Reads: asked for, sent, answered from the cache.", "outcome"),
    "qserver_connections_refused": ("Connections beyond the limits.", ""),
    "process_cpu_seconds": ("Total user and system CPU time spent in seconds.", ""),
}
"""What they count, and the label that tells outcomes apart."""
GAUGES = {
    "qserver_manager_connected": "1 with a connection.",
    "qserver_manager_waiting_calls": "Calls not sent yet.",
    "qserver_manager_calls_in_flight": "Calls sent.",
    "qserver_manager_calls_per_second": "RE Manager's rate, measured.",
    "qserver_manager_published_age_seconds": "Since RE Manager has published anything; -1: never.",
    "qserver_kept_bytes": "Bytes of cached replies.",
    "qserver_connections": "Open connections.",
    "qserver_streams": "Open streams and websockets.",
    "qserver_replicas_redis_answering": "1 while the Redis that replicas share answers.",
    "qserver_events_following": "1 for the replica that follows RE Manager for all.",
    "qserver_events_lease_gained": "How often it began to.",
    "qserver_events_lease_lost": "How often it stopped because it had to.",
    "qserver_events_read_age_seconds": "Since it has heard of the log of all replicas; -1: never.",
    "qserver_warnings": "Warnings of /readyz: mistakes in policies, custom modules that failed.",
    "qserver_worker_answering": "1 for a worker whose figures are of this moment, 0 for one that hangs.",
    "process_virtual_memory_bytes": "Virtual memory size in bytes.",
    "process_resident_memory_bytes": "Resident memory size in bytes.",
    "process_start_time_seconds": "Start time of the process since unix epoch in seconds.",
    "process_open_fds": "Number of open file descriptors.",
    "process_max_fds": "Maximum number of open file descriptors.",
}


class _Once:
    """Metrics that are told once."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def describe(self) -> Iterable[Metric]:
        """Nothing to say at registration."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """All of them."""
        return self._families


def write_text(workers: Mapping[int, Figures], info: Mapping[str, str]) -> bytes:
    """The metrics of all workers: counters added up, gauges with the label `worker`.

    Workers that have ended have counters only. `info`: the labels of `qserver_info`, which tells replicas apart.
    """
    registry = CollectorRegistry()
    registry.register(_Once([*_tell_all(workers, info)]))
    return generate_latest(registry)


def _tell_all(workers: Mapping[int, Figures], info: Mapping[str, str]) -> Iterator[Metric]:
    total = add_up(list(workers.values()))
    yield from _of_requests(total)
    about = GaugeMetricFamily("qserver_info", "Which replica this is, and its version.", labels=tuple(info))
    about.add_metric(tuple(info.values()), 1)
    yield about
    for name, (text, label) in COUNTERS.items():
        counter = CounterMetricFamily(name, text, labels=(label,) if label else ())
        for outcome, value in total.counters.get(name, {}).items():
            counter.add_metric((outcome,) if label else (), value)
        yield counter
    for name, text in GAUGES.items():
        gauge = GaugeMetricFamily(name, text, labels=("worker",))
        for number, figures in sorted(workers.items()):
            if name in figures.gauges:
                gauge.add_metric((str(number),), figures.gauges[name])
        yield gauge


def _of_requests(total: Figures) -> Iterator[Metric]:
    requests = CounterMetricFamily("qserver_http_requests", "Requests answered.", labels=("method", "path", "status"))
    seconds = HistogramMetricFamily(
        "qserver_http_request_seconds", "Time from the gate to the answer.", labels=("method", "path")
    )
    for name, row in total.rows.items():
        verb, _, path = name.partition(" ")
        for status, count in row.by_status.items():
            requests.add_metric((verb, path, str(status)), count)
        if row.by_status:
            seconds.add_metric((verb, path), row.cumulated(), row.seconds)
    yield requests
    yield seconds
