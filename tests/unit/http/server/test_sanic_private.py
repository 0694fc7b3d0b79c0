"""What stands in for private parts of Sanic was written against these parts. When they change, look again.

A failure here says that Sanic is another one: read what changed, see whether our part may be deleted (each module of
`http/server` says when) or must follow, and then write the new digest down.
"""

import hashlib
import inspect

import pytest
from sanic.http import Http
from sanic.http.stream import Stream
from sanic.server.protocols.base_protocol import SanicProtocol
from sanic.server.protocols.http_protocol import HttpProtocol
from sanic.server.protocols.websocket_protocol import WebSocketProtocol
from sanic.server.websockets.frame import WebsocketFrameAssembler
from sanic.server.websockets.impl import WebsocketImplProtocol

WRITTEN_AGAINST = {
    Http.__init__: "c3adb6c09e02",
    Http.init_for_request: "dd13f0b10a93",
    Http.http1: "919e9cb430e3",
    Http.error_response: "5f49e1d76d4f",
    Http.create_empty_request: "388728b7faf2",
    HttpProtocol.__init__: "1fafdabff732",
    HttpProtocol.check_timeouts: "23ee247afb5d",
    HttpProtocol.close: "81d81b955991",
    HttpProtocol.connection_made: "980c201d9ed0",
    HttpProtocol.data_received: "05f33fb9eb1b",
    SanicProtocol.__init__: "69adfb3f5f61",
    SanicProtocol.receive_more: "d1d4ea917224",
    SanicProtocol.connection_lost: "cafa8042a675",
    WebSocketProtocol.connection_lost: "00c33c5eeb58",
    WebSocketProtocol.data_received: "251cdafd9c6d",
    WebSocketProtocol.websocket_handshake: "e6a03815a97d",
    WebsocketImplProtocol.connection_made: "38a370d18313",
    WebsocketImplProtocol.data_received: "e942000646e6",
    WebsocketImplProtocol.fail_connection: "708a1d00154a",
    WebsocketImplProtocol.recv: "1571cd104965",
    WebsocketFrameAssembler.put: "86950c65c192",
}
# Sanic rewrites these when a server starts, so they are read from the file.
REWRITTEN = {
    "Http.http1_request_header": "d3cd937dc182",
    "Http.http1_response_header": "dff02555548d",
    "Http.read": "27b1b54c477c",
    "HttpProtocol.send": "54aca2c9527d",
    "HttpProtocol.connection_task": "e7c988699716",
}


def digest(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()[:12]


@pytest.mark.parametrize("part", WRITTEN_AGAINST, ids=lambda part: part.__qualname__)
def test_a_part_of_sanic_that_ours_stands_in_for_is_as_it_was(part):
    assert digest(inspect.getsource(part)) == WRITTEN_AGAINST[part]


@pytest.mark.parametrize("name", REWRITTEN)
def test_a_part_that_sanic_rewrites_is_as_it_was(name):
    owner, method = name.split(".")
    module = inspect.getsource(inspect.getmodule({"Http": Http, "HttpProtocol": HttpProtocol}[owner]))
    begin = module.index(f"    async def {method}(")
    end = min(at for at in (module.find("\n    async def ", begin + 1), module.find("\n    def ", begin + 1)) if at > 0)
    assert digest(module[begin:end]) == REWRITTEN[name]


def test_the_attributes_that_ours_set_are_sanic_s():
    assert {"stage", "request_body", "request_bytes_left", "recv_buffer", "exception"} <= set(Http.__slots__)
    assert {"_task", "_time", "_can_write", "transport"} <= set(SanicProtocol.__slots__)
    assert {"_http", "recv_buffer", "state"} <= set(HttpProtocol.__slots__)
    assert issubclass(Http, Stream)
