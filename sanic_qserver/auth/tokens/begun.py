"""Logins that anybody may begin, at an external provider or for a terminal: stored for a while, so they are few."""

from collections import Counter, deque
from collections.abc import Callable

from sanic_qserver.errors import TooManyRequests

MOST = 5000
MOST_PER_ADDRESS = 200


class BegunLogins:
    """Counts the logins begun within the last `keep_s` seconds, by address. In this process."""

    def __init__(self, clock: Callable[[], float], keep_s: float = 600.0) -> None:
        self._clock = clock
        self._keep_s = keep_s
        self._begun: deque[tuple[float, str]] = deque()
        self._by_address: Counter[str] = Counter()

    def begin(self, address: str) -> None:
        """Count one. Raises TooManyRequests."""
        now = self._clock()
        while self._begun and self._begun[0][0] <= now - self._keep_s:
            _, old = self._begun.popleft()
            self._by_address[old] -= 1
            if not self._by_address[old]:
                del self._by_address[old]
        if len(self._begun) >= MOST or self._by_address[address] >= MOST_PER_ADDRESS:
            wait_s = max(1, int(self._begun[0][0] + self._keep_s - now))
            raise TooManyRequests("Too many logins were begun here", headers={"Retry-After": str(wait_s)})
        self._begun.append((now, address))
        self._by_address[address] += 1
