"""The credential cache: a key or token that was verified a moment ago costs no database query.

Rule: an entry was verified after the last revocation that this process knows of. A look-up that a revocation overtook
is not cached. When the database has not answered for a while, the cache is not used.
"""

from collections.abc import Callable

from cachetools import TLRUCache

from sanic_qserver.structs.identity import Principal

_MOST = 20_000
_LONGEST_S = 60.0
_TRUST_S = 10.0  # How long the cache is used while the database does not answer.


class CredentialCache:
    """Credential -> principal, until it expires, at most a minute. `version` grows whenever the cache is emptied."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.version = 0
        self._clock = clock
        self._heard_at = clock()
        self._known: TLRUCache[str, Principal] = TLRUCache(_MOST, ttu=_good_until, timer=clock)
        self._seen: dict[str, float] = {}
        self._listeners: list[Callable[[], None]] = []

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever the cache is emptied."""
        self._listeners.append(listener)

    def heard(self) -> None:
        """The database has answered a query for revocations."""
        self._heard_at = self._clock()

    def forget(self) -> None:
        """Empty the cache: something was revoked."""
        self.version += 1
        self._known.clear()
        for listener in self._listeners:
            listener()

    def get(self, credential: str) -> Principal | None:
        """The principal, if the entry is still valid."""
        if self._clock() - self._heard_at > _TRUST_S:
            return None
        return self._known.get(credential)

    def seen(self) -> dict[str, float]:
        """Principals (by uuid) that were looked up since the last call, and when."""
        seen, self._seen = self._seen, {}
        return seen

    def put(self, credential: str, principal: Principal, version: int) -> None:
        """Cache it, unless something was revoked since `version`."""
        if principal.uuid:
            self._seen[principal.uuid] = self._clock()
        if version == self.version:
            self._known[credential] = principal


def _good_until(_: str, principal: Principal, now: float) -> float:
    longest = now + _LONGEST_S
    return longest if principal.expires_at is None else min(longest, principal.expires_at)
