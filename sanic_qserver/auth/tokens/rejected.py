"""Credentials that nobody knows, counted by address: after some, no look-up is made for more of them.

In memory, so that a flood costs neither database nor Redis. It comes back within a minute. Workers and replicas count
for themselves: what is limited is the look-ups that each has to make, not the chance to guess a key of 192 bits (logins
with passwords are counted together, `attempts.py`). A credential that was good here lately is never counted out: one
client with an old key must not lock out others behind the same address.
"""

import math
import time
from collections.abc import Callable

from sanic_qserver.errors import TooManyRequests
from sanic_qserver.structs.canonical import find_network

_MOST_ADDRESSES = 10_000
_PERIOD_S = 60.0


class Rejected:
    """How many an address has free: `free` at once, and as many again each minute. `clock` is monotonic."""

    def __init__(self, free: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._free = float(free)
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}

    def check(self, address: str) -> None:
        """Raise TooManyRequests when an address has sent too many bad credentials."""
        if not self._left:
            return
        left = self._find_wait_s(find_network(address))
        if left < 1:
            raise TooManyRequests(
                "Too many credentials that are not known. Wait before the next",
                headers={"Retry-After": str(math.ceil((1 - left) * _PERIOD_S / self._free))},
                extra={"rule": "rejected_credentials"},
            )

    def count(self, address: str) -> None:
        """One more was not known."""
        network = find_network(address)
        left = max(self._find_wait_s(network) - 1, 0.0)
        self._left.pop(network, None)
        if len(self._left) >= _MOST_ADDRESSES:  # The one that has been quiet the longest.
            del self._left[next(iter(self._left))]
        self._left[network] = (left, self._clock())

    def _find_wait_s(self, network: str) -> float:
        kept = self._left.get(network)
        if kept is None:
            return self._free
        left, at = kept
        return min(left + (self._clock() - at) * self._free / _PERIOD_S, self._free)
