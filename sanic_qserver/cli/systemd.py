"""What systemd is told (sd_notify(3)): ready, reloading, stopping, alive. Nothing where no systemd asks for it."""

import contextlib
import os
import socket
import time

from sanic_qserver.config.settings import ServerConfig

_TAKEN_WITHIN_S = 1.0
_MARGIN_S = 10.0
READY, ALIVE = "READY=1", "WATCHDOG=1"


def say_to_systemd(what: str) -> None:
    """Tell systemd what the server says of itself: see `serve_until`. Its end: `notify_stopping`."""
    if what == "reloading":
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
    else:
        notify({"ready": READY, "reloaded": READY}.get(what, ALIVE))


def notify_stopping(server: ServerConfig) -> None:
    """Tell systemd that the end has begun, and to wait for it: TimeoutStopSec may be less than what is configured."""
    wait_s = server.drain_delay_s + server.shutdown_timeout_s + _MARGIN_S
    notify(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={wait_s * 1e6:.0f}")


def notify(state: str) -> None:
    """Tell systemd, if it wants to know (`Type=notify`)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.settimeout(0 if state == ALIVE else _TAKEN_WITHIN_S)  # Its queue is short, and may be full.
        channel.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)


def alive_period_s() -> float:
    """How often systemd wants to hear that the server lives: half of `WatchdogSec`. 0: not at all."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    return int(os.environ.get("WATCHDOG_USEC", "0")) / 2e6


def take_watchdog() -> None:
    """Have the watchdog's period hold for this process too, which systemd does not know: one that it has started."""
    os.environ.pop("WATCHDOG_PID", None)
