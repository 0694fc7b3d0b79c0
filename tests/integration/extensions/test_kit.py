"""The test kit for third parties, in front of the RE Manager of these tests."""

import pytest
from custom_modules import HELLO, write_module  # noqa: F401

from sanic_qserver.errors import ConfigError
from sanic_qserver.testing import qserver  # noqa: F401


@pytest.fixture
def qserver_instrument(instrument):
    return instrument


@pytest.fixture
def module(write_module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_module("ext_kit", HELLO)


def test_a_plain_function_tests_a_module(qserver, module):
    client = qserver(module)
    assert client.get("/api/hello").json()["greeting"] == "Hello, world"
    with client.without_key() as nobody:
        assert nobody.get("/api/hello").status_code == 401
    assert client.app.ctx.services.warnings == []


def test_plans_run_in_the_kit(qserver, module):
    client = qserver(module)
    client.open_environment()
    item = {"name": "count", "args": [["det1"]], "item_type": "plan"}
    assert client.post("/api/queue/item/add", json={"item": item}).json()["success"]
    assert client.post("/api/queue/start").json()["success"]
    client.wait_for_status(manager_state="idle", items_in_queue=0)


def test_two_servers_may_run_at_once(qserver, module):
    first, second = qserver(module), qserver(server={"max_nesting": 9})
    assert first.get("/api/hello").status_code == 200
    assert second.get("/api/hello").status_code == 404


def test_a_module_that_fails_fails_the_test(qserver, write_module, module):
    with pytest.raises(ConfigError, match="ext_kit_bad"):
        qserver(write_module("ext_kit_bad", "1 / 0"))
