import pytest
from conftest import KEY
from qsctl import Qsctl


@pytest.fixture
def qsctl(served, tmp_path, monkeypatch, capsys):
    """`qsctl` with the key of the shared server, whose queue and history are empty."""
    for path in ("/api/queue/clear", "/api/history/clear"):
        assert served.client.post(path, headers=served.key).json()["success"]
    return Qsctl(tmp_path, monkeypatch, capsys, QSERVER_HTTP_SERVER_URI=served.url, QSERVER_API_KEY=KEY)


@pytest.fixture
def open_worker(qsctl):
    """`qsctl`, with the environment open."""
    if not qsctl.ok("status", "--json").records[0]["worker_environment_exists"]:
        qsctl.ok("environment", "open")
    qsctl.ok("wait", "environment_open", "--at-most", "60")
    qsctl.ok("wait", "idle", "--at-most", "60")
    return qsctl
