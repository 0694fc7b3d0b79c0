"""Lists of addresses and networks as settings name them, and whether a peer is on one."""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

UNIX = "unix"  # Stands for whoever connects over a unix socket.


class Networks:
    """Addresses, networks, and perhaps unix sockets."""

    def __init__(self, listed: Iterable[str]) -> None:
        """Raises ValueError for what is neither an address, nor a network, nor "unix"."""
        words = tuple(listed)
        self._has_unix = UNIX in words
        self._networks = [ipaddress.ip_network(word, strict=False) for word in words if word != UNIX]
        self.hold = lru_cache(maxsize=1024)(self._hold)  # One address sends many requests.

    def __bool__(self) -> bool:
        return self._has_unix or bool(self._networks)

    def _hold(self, address: str) -> bool:
        if address == UNIX:
            return self._has_unix
        plain = read_address(address)
        return bool(plain) and any(ipaddress.ip_address(plain) in network for network in self._networks)


def read_address(text: str) -> str:
    """An address in its one spelling, without brackets, port and zone; "" for what is none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    return str(getattr(address, "ipv4_mapped", None) or address)
