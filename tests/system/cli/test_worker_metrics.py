"""One scrape tells what all workers have done, whichever of them answers."""

import os
import signal

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from servers import KEY, ServerProcess, until, with_key
from worker_processes import two_workers, workers_of

HEADERS = {"Authorization": f"ApiKey {KEY}"}
CONFIG = """
[telemetry]
replica = "hall-3"
[policy.access.roles.unauthenticated_single_user]
scopes_add = ["admin:metrics"]
"""


class Scraped:
    def __init__(self, text):
        families = text_string_to_metric_families(text)
        self.samples = [sample for family in families for sample in family.samples]

    def pings(self):
        """How many were answered, on all workers."""
        return self.total("qserver_http_requests_total", path="/ping", status="200")

    def total(self, name, **labels):
        wanted = labels.items()
        return sum(one.value for one in self.samples if one.name == name and wanted <= one.labels.items())

    def by_worker(self, name):
        return {one.labels["worker"]: one.value for one in self.samples if one.name == name}


def scrape(server):
    """By whichever worker takes the new connection."""
    return Scraped(httpx.get(f"{server.url}/metrics", headers=HEADERS, timeout=60).raise_for_status().text)


def ping(server, times):
    for _ in range(times):
        httpx.get(f"{server.url}/api/ping", headers=HEADERS, timeout=60).raise_for_status()


@pytest.mark.slow
def test_a_scrape_tells_of_all_workers_and_no_counter_goes_down_when_one_is_killed(instrument, folder):
    arguments = two_workers(folder, instrument.redis_port, CONFIG)
    with ServerProcess(folder, *arguments, environment=with_key(instrument)) as server:
        until(lambda: len(scrape(server).by_worker("qserver_worker_answering")) == 2)
        ping(server, 40)
        for _ in range(8):  # Answered by both, each knows of all.
            assert scrape(server).pings() == 40
        seen = scrape(server)
        assert seen.total("qserver_info", replica="hall-3") == 1
        assert set(seen.by_worker("qserver_manager_connected").values()) == {1}
        first, _ = sorted(seen.by_worker("process_start_time_seconds"))
        assert seen.by_worker("process_resident_memory_bytes")[first] > 0

        # One that hangs does not keep the others from telling.
        hangs, other = workers_of(server)
        os.kill(hangs, signal.SIGSTOP)
        try:
            seen = scrape(server)
        finally:
            os.kill(hangs, signal.SIGCONT)
        assert sorted(seen.by_worker("qserver_worker_answering").values()) == [0, 1]

        before = scrape(server)
        for pid in (hangs, other):
            os.kill(pid, signal.SIGKILL)
        until(lambda: len(scrape(server).by_worker("qserver_worker_answering")) == 2)
        after = scrape(server)
        assert after.pings() == before.pings()
        for sample in before.samples:
            if sample.name.endswith(("_total", "_count", "_sum", "_bucket")):
                assert after.total(sample.name, **sample.labels) >= sample.value, sample
        ping(server, 5)
        assert scrape(server).pings() == before.pings() + 5

        server.process.send_signal(signal.SIGUSR2)
        until(lambda: not workers_of(server) & {hangs, other} and len(workers_of(server)) == 2)
        assert scrape(server).pings() >= before.pings() + 5
        assert server.stop() == 0, server.text
