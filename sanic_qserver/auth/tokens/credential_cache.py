"""Credentials that were verified lately, so that a hot key or token costs no database access.

Rule: what is remembered was true after the last revocation that this process has heard of. A look-up that was under
way when a revocation came in is not remembered. When the database has not been heard of for a while, nothing is.
"""

from collections.abc import Callable

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
        self._kept: dict[str, tuple[Principal, float]] = {}
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
        self._kept.clear()
        for listener in self._listeners:
            listener()

    def get(self, credential: str) -> Principal | None:
        """Who it is, when that is still known."""
        kept = self._kept.get(credential)
        if kept is None:
            return None
        now = self._clock()
        if now >= kept[1] or now - self._heard_at > _TRUST_S:
            return None
        return kept[0]

    def seen(self) -> dict[str, float]:
        """Principals (by uuid) that were looked up since this was last asked, and when."""
        seen, self._seen = self._seen, {}
        return seen

    def put(self, credential: str, principal: Principal, version: int) -> None:
        """Keep it, unless something was revoked since `version`."""
        if principal.uuid:
            self._seen[principal.uuid] = self._clock()
        if version != self.version:
            return
        if len(self._kept) >= _MOST:
            self._kept.clear()
        until = self._clock() + _LONGEST_S
        if principal.expires_at is not None:
            until = min(until, principal.expires_at)
        self._kept[credential] = (principal, until)
