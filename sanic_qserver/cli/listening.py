"""The sockets to listen on: bound here, or passed by systemd, which keeps them open while the server restarts."""

import os
import socket

from sanic_qserver.errors import ConfigError

_FIRST_PASSED = 3  # sd_listen_fds(3)


def take_passed_sockets() -> list[socket.socket]:
    """The listening sockets that systemd passed to this process (`LISTEN_FDS`); none when there are none."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(os.environ.get("LISTEN_FDS", "0"))
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)  # They are not for the processes that this one starts.
    return [socket.socket(fileno=number) for number in range(_FIRST_PASSED, _FIRST_PASSED + count)]


def bind_sockets(host: str, port: int) -> list[socket.socket]:
    """A bound socket for each address of the host; none of them listens yet. Raises ConfigError."""
    bound: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, address in dict.fromkeys((one[0], one[4]) for one in found):
            listener = socket.socket(family)
            bound.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(address)
    except OSError as error:
        for listener in bound:
            listener.close()
        raise ConfigError(f"{host} port {port} cannot be bound: {error.strerror}") from None
    return bound
