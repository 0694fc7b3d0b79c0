"""Credentials that were verified lately, so that a hot key or token costs no database access.

Rule: what is remembered was true after the last revocation that this process has heard of. A look-up that was under
way when a revocation came in is not remembered. When the database has not been heard of for a while, nothing is.
"""

from collections.abc import Callable

from cachetools import TLRUCache

from sanic_qserver.structs.identity import Principal

_MOST = 20_000
_LONGEST_S = 60.0
_TRUST_S = 10.0  # How long memory is trusted when the database does not answer.


class Remembered:
    """Credential -> principal, until it expires, at most a minute. `version` grows when all is forgotten."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.version = 0
        self._clock = clock
        self._heard_at = clock()
        self._known: TLRUCache[str, Principal] = TLRUCache(_MOST, ttu=_good_until, timer=clock)
        self._seen: dict[str, float] = {}
        self._listeners: list[Callable[[], None]] = []

    def listen(self, listener: Callable[[], None]) -> None:
        """Call this whenever all is forgotten."""
        self._listeners.append(listener)

    def heard(self) -> None:
        """The database was asked for revocations, and answered."""
        self._heard_at = self._clock()

    def forget(self) -> None:
        """Something was revoked."""
        self.version += 1
        self._known.clear()
        for listener in self._listeners:
            listener()

    def get(self, credential: str) -> Principal | None:
        """Who it is, when that is still known."""
        if self._clock() - self._heard_at > _TRUST_S:
            return None
        return self._known.get(credential)

    def seen(self) -> dict[str, float]:
        """Principals (by uuid) that were looked up since this was last asked, and when."""
        seen, self._seen = self._seen, {}
        return seen

    def put(self, credential: str, principal: Principal, version: int) -> None:
        """Keep it, unless something was revoked since `version`."""
        if principal.uuid:
            self._seen[principal.uuid] = self._clock()
        if version == self.version:
            self._known[credential] = principal


def _good_until(_: str, principal: Principal, now: float) -> float:
    longest = now + _LONGEST_S
    return longest if principal.expires_at is None else min(longest, principal.expires_at)
