"""The names that this server answers to, for callers whose rights go along by themselves (anonymous, cookies, proxies).

Else any page could point a name of its own at this server (DNS rebinding): its requests are then of "the same origin",
and only the Host header gives it away. An IP address needs no check, as no name is involved; nor does a key or token.
"""

import ipaddress
import re
import socket
from urllib.parse import urlsplit

from sanic_qserver.config.settings import ServerConfig
from sanic_qserver.errors import HostNotAllowed

_HOST = re.compile(r"(?P<name>[a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?").fullmatch
_MOST_KNOWN = 1000


class Hosts:
    """Checks the Host header. One an application."""

    def __init__(self, config: ServerConfig) -> None:
        own = {"localhost", config.host, socket.gethostname(), *config.allowed_hosts}
        own |= {urlsplit(origin).hostname or "" for origin in config.allow_origins if origin != "*"}
        names = {name.lower().rstrip(".") for name in own} - {""}
        self._names = frozenset(names)
        self._endings = (".localhost", *(name for name in names if name.startswith(".")))
        self._is_off = "*" in names
        self._known: set[str] = set()

    def check(self, host: str) -> None:
        """Raises HostNotAllowed (421) for a name that is not this server's. Programs may leave it out."""
        if host in self._known or self._is_off or not host:
            return
        if not self._is_ours(host.lower()):
            raise HostNotAllowed(
                f"'{host[:100]}' is no name of this server: add it to [server] allowed_hosts, or send a key or token"
            )
        if len(self._known) < _MOST_KNOWN:
            self._known.add(host)

    def _is_ours(self, host: str) -> bool:
        match = _HOST(host)
        if match is None:
            return False
        name = match["name"].strip("[]").rstrip(".")
        return name in self._names or name.endswith(self._endings) or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
