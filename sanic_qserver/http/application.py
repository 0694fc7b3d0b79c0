"""The types of Sanic's application and handlers, as this project uses them."""

from collections.abc import Callable, Coroutine
from typing import Any

from sanic import HTTPResponse, Sanic

App = Sanic[Any, Any]
Handler = Callable[..., Coroutine[Any, Any, HTTPResponse | None]]

PREFIXES = ("/api", "")  # Every row is served under each, except those that say at_root=False.
