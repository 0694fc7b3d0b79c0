"""Adding a file while everything breaks: each item exactly once."""

import json
import signal
import time

import httpx
import pytest
from conftest import KEY, needs
from ports import free_port
from proxy import Proxy
from qsctl import run, start
from servers import Instrument, ServerProcess

COUNT = 5000
CONFIG = """
[manager]
control_address = "{control}"
info_address = "{info}"
[auth]
single_user_api_key = "{key}"
"""


@pytest.fixture
def own(tmp_path_factory):
    """An RE Manager that is killed here."""
    with Instrument(tmp_path_factory.mktemp("own")) as running:
        yield running


def serve(folder, port):
    """A server process at this port."""
    server = ServerProcess(folder, "serve", "--config", folder / "config.toml", port=port)
    server.wait_for(server.answers)
    return server


def wait_until_queued(server_url, count, process):
    """Until so many items are in the queue."""
    until = time.monotonic() + 100
    while True:
        try:
            status = httpx.get(f"{server_url}/api/status", headers={"Authorization": f"ApiKey {KEY}"}, timeout=10)
            if status.status_code == 200 and status.json()["items_in_queue"] >= count:
                return
        except httpx.HTTPError:
            pass
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.slow
def test_each_item_is_added_exactly_once_whatever_is_killed_meanwhile(own, tmp_path):
    needs("nginx")
    text = CONFIG.format(control=own.control_address, info=own.info_address, key=KEY)
    (tmp_path / "config.toml").write_text(text)
    items = [{"item_type": "plan", "name": "count", "args": [["det1"]]} for _ in range(COUNT)]  # All are equal.
    file = tmp_path / "items.ndjson"
    file.write_text("\n".join(map(json.dumps, items)))
    port = free_port()
    server = serve(tmp_path, port)
    try:
        with Proxy(tmp_path, port) as proxy:
            environment = {"QSERVER_HTTP_SERVER_URI": proxy.url, "QSERVER_API_KEY": KEY}
            command = ("add", "--file", file, "--ca-file", proxy.ca_file)
            with start(tmp_path, *command, environment=environment) as process:
                wait_until_queued(server.url, 500, process)
                server.stop(signal.SIGKILL)
                server = serve(tmp_path, port)
                wait_until_queued(server.url, 1500, process)
                proxy.stop()  # The network is pulled.
                proxy.start()
                wait_until_queued(server.url, 2500, process)
                own.manager.signal(signal.SIGKILL)
                own.manager.process.wait(20)
                own.start_manager()
                wait_until_queued(server.url, 3500, process)
                process.kill()
                process.communicate()
            again = run(tmp_path, *command, environment=environment, timeout_s=120)
            assert again.code == 0, again.err
            assert f"{COUNT} added, 0 refused" in again.out
            repeated = run(tmp_path, *command, environment=environment)
            assert "added before" in repeated.err
        reply = httpx.get(f"{server.url}/api/queue/get", headers={"Authorization": f"ApiKey {KEY}"}, timeout=60).json()
        lines = [item["meta"]["qsctl"]["line"] for item in reply["items"]]
        assert sorted(lines) == list(range(COUNT))
    finally:
        server.stop()
