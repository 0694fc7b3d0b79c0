import logging

import pytest
from conftest import app_of

from sanic_qserver.config.settings import load

_NOBODY = {"control_address": "tcp://127.0.0.1:9", "info_address": "tcp://127.0.0.1:9", "queue_wait_s": 0.01}


@pytest.fixture
async def serve_alone(sanic_client, caplog):
    """Start a server without RE Manager. It may log no error."""

    async def serve(**sections):
        return await sanic_client(app_of(load(environment={}, overrides={"manager": _NOBODY, **sections})))

    yield serve
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
