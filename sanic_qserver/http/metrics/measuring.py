"""Prometheus metrics: plain numbers on the way of a request, given their names when they are scraped.

Nothing here is labelled with what a client sends.
"""

import socket
from collections.abc import Callable, Mapping

from prometheus_client import ProcessCollector

from sanic_qserver import __version__
from sanic_qserver.api.endpoint import Endpoint
from sanic_qserver.config.settings import Config
from sanic_qserver.http.metrics.exposition import COUNTERS, write_text
from sanic_qserver.http.metrics.figures import Figures, RowFigures
from sanic_qserver.http.metrics.workers import Workers

Count = Callable[[int, float], float]
Gauges = Callable[[], Mapping[str, float]]


class Metrics:
    """What this worker measures, and all of them have. `of` gives a row's own counter; `text` is what Prometheus reads.

    `counters` are counted elsewhere, by name and outcome. `watch` adds what is asked for its value of the moment.
    """

    def __init__(self, config: Config, counters: Mapping[str, Mapping[str, int]], workers: Workers) -> None:
        self._counters = counters
        self._workers = workers
        self._rows: dict[str, RowFigures] = {}
        self._gauges: list[Gauges] = []
        self._process = ProcessCollector(registry=None)
        self.replica = config.telemetry.replica or f"{socket.gethostname()}:{config.server.port}"
        self._info = {"replica": self.replica, "version": __version__}

    def of(self, row: Endpoint) -> Count:
        """The function that counts one answer of a row: its status, and `perf_counter()` at its start."""
        return self._rows.setdefault(f"{row.verb} {row.path}", RowFigures()).count

    def watch(self, gauges: Gauges) -> None:
        """Ask for these at each scrape. Those whose names are in `COUNTERS` only grow."""
        self._gauges.append(gauges)

    def open(self) -> None:
        """Let the other workers have the figures of this one, from the running loop."""
        self._workers.open(self._measure)

    def close(self) -> None:
        """Leave the counters to the others; the gauges end with this worker."""
        figures = self._measure()
        figures.gauges = {}
        self._workers.close(figures)

    async def text(self) -> bytes:
        """All metrics of all workers in Prometheus' text format."""
        return write_text(await self._workers.gather(self._measure()), self._info)

    def _measure(self) -> Figures:
        rows = {name: row for name, row in self._rows.items() if row.by_status}
        counters: dict[str, dict[str, float]] = {name: dict(counts) for name, counts in self._counters.items()}
        gauges: dict[str, float] = {}
        for gauge in self._gauges:
            gauges.update(gauge())
        for name in COUNTERS.keys() & gauges.keys():
            counters[name] = {"": gauges.pop(name)}
        for family in self._process.collect():
            for sample in family.samples:
                if family.type == "counter":
                    counters[family.name] = {"": sample.value}
                else:
                    gauges[family.name] = sample.value
        return Figures(rows, counters, gauges)
