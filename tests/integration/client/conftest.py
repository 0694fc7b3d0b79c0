import os
from contextlib import contextmanager

import pytest
from conftest import _WITH_KEY, KEY, find_program, needs
from policy_people import let_people_in
from proxy import Proxy
from qsctl import Qsctl
from servers import Served, app_of

from sanic_qserver.config.settings import load


@contextmanager
def serving_people(instrument, folder, policy):
    """A server with proposals and a policy of the test's own, whose people are let in."""
    (folder / "permissions.yaml").write_text(policy)
    settings = {
        **_WITH_KEY,
        "policy": {"permissions": str(folder / "permissions.yaml")},
        "database": {"url": f"sqlite:///{folder / 'proposals.sqlite'}"},
    }
    served = Served(app_of(load(environment=instrument.environment, overrides=settings)))
    let_people_in(served.app)
    yield served
    served.close()


@contextmanager
def reaching(served, folder):
    """The variables by which a server is reached over TLS, behind nginx and a path prefix; directly without nginx."""
    if os.environ.get("REQUIRE_ALL_TESTS"):
        needs("nginx")
    if find_program("nginx") is None:
        yield {"QSERVER_HTTP_SERVER_URI": served.url}
        return
    with Proxy(folder, served.port) as proxy:
        yield {"QSERVER_HTTP_SERVER_URI": proxy.url, "SSL_CERT_FILE": str(proxy.ca_file)}


@pytest.fixture(scope="session")
def reached(served, tmp_path_factory):
    """The shared server."""
    with reaching(served, tmp_path_factory.mktemp("nginx")) as variables:
        yield variables


@pytest.fixture
def qsctl(served, reached, tmp_path, monkeypatch, capsys):
    """`qsctl` with the key of the shared server, whose queue and history are empty."""
    for path in ("/api/queue/clear", "/api/history/clear"):
        assert served.client.post(path, headers=served.key).json()["success"]
    return Qsctl(tmp_path, monkeypatch, capsys, QSERVER_API_KEY=KEY, **reached)


@pytest.fixture
def open_worker(qsctl):
    """`qsctl`, with the environment open."""
    if not qsctl.ok("status", "--json").records[0]["worker_environment_exists"]:
        qsctl.ok("environment", "open")
    qsctl.ok("wait", "environment_open", "--at-most", "60")
    qsctl.ok("wait", "idle", "--at-most", "60")
    return qsctl
