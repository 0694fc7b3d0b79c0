"""The sockets to listen on: bound here, or passed by systemd, which keeps them open while the server restarts."""

import contextlib
import os
import socket
from pathlib import Path

from sanic_qserver.config.settings import ServerConfig
from sanic_qserver.errors import ConfigError

_FIRST_PASSED = 3  # sd_listen_fds(3)
_UNIX_MODE = 0o660  # The proxy is in the group of the server, or the folder lets nobody else in.


def take_passed_sockets() -> list[socket.socket]:
    """The listening sockets that systemd passed to this process (`LISTEN_FDS`); none when there are none."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(os.environ.get("LISTEN_FDS", "0"))
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)  # They are not for the processes that this one starts.
    passed = [socket.socket(fileno=number) for number in range(_FIRST_PASSED, _FIRST_PASSED + count)]
    if any(listener.type != socket.SOCK_STREAM for listener in passed):
        raise ConfigError("A socket that was passed is none for connections: ListenStream= is, ListenDatagram= is not")
    return passed


def describe_address(listener: socket.socket) -> str:
    """Where it listens: `host:port`, or `unix:path`."""
    address = listener.getsockname()
    if not isinstance(address, tuple):
        return f"unix:{os.fsdecode(address)}"
    return format_address(address[0], address[1])


def format_address(host: str, port: int) -> str:
    """`host:port`, as it stands in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bind_sockets(server: ServerConfig) -> list[socket.socket]:
    """A bound socket for each address of the host, or the unix socket; none of them listens yet. Raises ConfigError."""
    return [_bind_unix(Path(server.unix_socket))] if server.unix_socket else _bind_host(server.host, server.port)


def _bind_unix(path: Path) -> socket.socket:
    """The unix socket. One that nobody listens on is left from before, and removed."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        if path.is_socket():
            with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(ConnectionRefusedError):
                probe.connect(str(path))
                raise ConfigError(f"[server] unix_socket: another server listens on {path}")
            path.unlink()
        listener.bind(str(path))
        path.chmod(_UNIX_MODE)
    except OSError as error:
        listener.close()
        raise ConfigError(f"[server] unix_socket: {path} cannot be bound: {error.strerror or error}") from None
    except ConfigError:
        listener.close()
        raise
    return listener


def _bind_host(host: str, port: int) -> list[socket.socket]:
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
