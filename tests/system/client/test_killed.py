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
REVIEW = """
roles:
  unauthenticated_single_user:
    scopes_remove: ["write:queue:edit"]
    scopes_add: ["write:queue:edit:own"]
    review: automatic
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


def read_proposed(url):
    """The stamped lines of all proposals."""
    query, headers = {"limit": 1000, "mine": "true"}, {"Authorization": f"ApiKey {KEY}"}
    reply = httpx.get(f"{url}/api/proposals", params=query, headers=headers, timeout=30)
    return [item["meta"]["qsctl"]["line"] for one in reply.json()["proposals"] for item in one["items"]]


@pytest.mark.slow
def test_each_item_of_a_reviewed_role_is_proposed_exactly_once_whoever_is_killed(instrument, tmp_path):
    count = 600
    (tmp_path / "permissions.yaml").write_text(REVIEW)
    text = CONFIG.format(control=instrument.control_address, info=instrument.info_address, key=KEY)
    (tmp_path / "config.toml").write_text(text + '[policy]\npermissions = "permissions.yaml"\n')
    item = {"item_type": "plan", "name": "count", "args": [["det1"]]}
    (tmp_path / "items.ndjson").write_text(f"{json.dumps(item)}\n" * count)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {"QSERVER_HTTP_SERVER_URI": url, "QSERVER_API_KEY": KEY}
    command = ("add", "--file", tmp_path / "items.ndjson")
    server = serve(tmp_path, port)
    try:
        for kills_client in (True, False):  # Then the server alone: the client goes on by itself.
            before = len(read_proposed(url))
            process = start(tmp_path, *command, environment=environment)
            server.wait_for(lambda before=before: len(read_proposed(url)) >= before + 40)
            if kills_client:
                process.kill()
                process.communicate()
            server.stop(signal.SIGKILL)
            server = serve(tmp_path, port)
        out, err = process.communicate(timeout=100)
        assert process.returncode == 0, err
        assert f"{count} added, 0 refused, {count} of them proposed for review" in out
        assert sorted(read_proposed(url)) == list(range(count))
        assert "added before" in run(tmp_path, *command, environment=environment).err
    finally:
        server.stop()
