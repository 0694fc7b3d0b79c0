"""Custom modules written by tests, and servers that load them."""

import sys
import textwrap

import pytest
from conftest import KEY, app_of, until_connected

HELLO = """
from sanic_qserver.extension_api import Call, Endpoint, ExtensionHost, Params, Scope, json_bytes

class Hello(Params, frozen=True, kw_only=True):
    '''Greet the caller.'''
    name: str = "world"

async def hello(call: Call) -> bytes:
    return json_bytes({"greeting": f"Hello, {call.params.name}", "by": call.access.principal.name})

def register(host: ExtensionHost) -> None:
    host.add_endpoint(Endpoint("GET", "/hello", Scope.READ_QUEUE, "", Hello, serve=hello))
"""


@pytest.fixture
def write_module(tmp_path, monkeypatch):
    """Write a module that is forgotten after the test."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    written = []

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        written.append(name)
        return name

    yield write
    for name in written:
        sys.modules.pop(name, None)


@pytest.fixture
def make(make_config, tmp_path):
    """The application with these modules."""

    def make(*modules, **settings):
        extensions = {"modules": modules, "paths": [str(tmp_path)], "entry_points": False, **settings}
        return app_of(make_config(extensions=extensions))

    return make


@pytest.fixture
async def serve(make, sanic_client):
    """A client with the key, of a server with these modules, with an empty queue."""

    async def serve(*modules, **settings):
        client = await sanic_client(make(*modules, **settings))
        client.headers["Authorization"] = f"ApiKey {KEY}"
        await until_connected(client)
        assert (await client.post("/api/queue/clear")).json()["success"]
        return client

    return serve


def problem_of(reply):
    assert reply.headers["content-type"] == "application/problem+json"
    return reply.json()
