"""The request as this server sees it: cheaper where Sanic looks for proxies that are not there."""

from typing import Any

from sanic import Request


class DirectRequest(Request[Any, Any]):
    """A request that came without a proxy in between: the peer is the client.

    Sanic's own `client_ip` reads and parses forwarding headers for each question, to find that none is trusted.
    """

    @property
    def client_ip(self) -> str:
        """The peer's address; "" on a unix socket."""
        return self.conn_info.client_ip if self.conn_info is not None else ""
