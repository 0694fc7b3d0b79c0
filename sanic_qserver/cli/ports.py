"""The port to serve on: whether it is free, and what holds it.

A port of the ephemeral range (60610 lies in it) may be held without a server: the kernel gives it to an outgoing
connection, or to a client that tries to reach this server before it listens and so meets itself. That passes.
"""

import errno
import logging
import socket
import time
from pathlib import Path

from sanic_qserver.demo import try_to_bind
from sanic_qserver.errors import ConfigError

log = logging.getLogger("sanic_qserver")

WAIT_S = 65.0  # Linux keeps the port of a closed connection for 60 s (TIME_WAIT).
_TRY_S = 0.2
_LISTENS = "0A"  # The kernel's number for the state LISTEN.
_RESERVE = "sysctl net.ipv4.ip_local_reserved_ports={port} keeps the kernel from giving this port away"


def await_free_port(host: str, port: int, wait_s: float = WAIT_S) -> None:
    """Return when the port can be bound; wait for what holds it without serving. Raises ConfigError."""
    until = time.monotonic() + wait_s
    is_told = False
    while (error := try_to_bind(host, port)) is not None:
        holder = describe_holder(port)
        if error.errno != errno.EADDRINUSE or not holder:
            raise ConfigError(_describe(error, host, port))
        told = f"{host} port {port} is taken by {holder}; {_RESERVE.format(port=port)}"
        if time.monotonic() > until:
            raise ConfigError(told)
        if not is_told:
            log.warning("%s. Trying for %g s", told, wait_s)
            is_told = True
        time.sleep(_TRY_S)


def _describe(error: OSError, host: str, port: int) -> str:
    """Why an address cannot be served, and what to do about it."""
    if error.errno == errno.EADDRINUSE:
        return (
            f"{host} port {port} is taken. Another server may run there: look with 'ss -ltnp', "
            "or choose another port with --port"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{host} port {port} may not be bound by this user: choose a port from 1024 on with --port"
    if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        return (
            f"{host} is no address of this machine: choose one with --host, as 127.0.0.1 (this machine only) "
            "or 0.0.0.0 (all networks)"
        )
    return f"{host} port {port} cannot be bound: {error.strerror}"


def describe_holder(port: int) -> str:
    """What holds a port without listening on it; "" for a listener, or when it cannot be told."""
    rows = [row for row in _read_connections() if int(row[1].rpartition(":")[2], 16) == port]
    if not rows or any(row[3] == _LISTENS for row in rows):
        return ""
    if any(row[1] == row[2] for row in rows):
        return "a client that was connected to itself while nobody listened"
    return "an outgoing connection of this machine, as its source port"


def _read_connections() -> list[list[str]]:
    """The kernel's table: number, local address, remote address, state. Empty where there is none."""
    tables = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
    return [line.split() for table in tables if table.exists() for line in table.read_text().splitlines()[1:]]
