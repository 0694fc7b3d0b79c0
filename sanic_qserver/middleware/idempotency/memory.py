"""Idempotency-Keys in the memory of one process: a restart forgets them."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

from sanic_qserver.config.settings import IdempotencyConfig
from sanic_qserver.errors import TooManyRequests
from sanic_qserver.middleware.idempotency.keys import LARGEST_ANSWER, Kept, Key, State, without_answer


@dataclass
class _Owner:
    """The keys of one principal, the oldest first, and the bytes of their answers."""

    keys: OrderedDict[str, tuple[Kept, float]] = field(default_factory=OrderedDict)
    bytes: int = 0


class MemoryKeys:
    """Implements `KeyStore`. Each principal has a budget of its own."""

    def __init__(self, config: IdempotencyConfig, clock: Callable[[], float] = monotonic) -> None:
        self._config = config
        self._clock = clock
        self._owners: dict[str, _Owner] = {}

    async def claim(self, key: Key, claim: str, fingerprint: str) -> Kept | None:
        """See KeyStore."""
        del claim  # There is one worker.
        owner = self._owner(key.owner)
        found = owner.keys.get(key.name)
        if found is not None and found[0].state is not State.RUNNING:
            return found[0]
        if found is None and len(owner.keys) >= self._config.max_keys:
            raise too_many_keys(self._config, next(iter(owner.keys.values()))[1] - self._clock())
        self._put(owner, key.name, Kept(state=State.RUNNING, fingerprint=fingerprint))
        return None

    async def read(self, key: Key) -> Kept | None:
        """See KeyStore."""
        found = self._owner(key.owner).keys.get(key.name)
        return None if found is None else found[0]

    async def keep(self, key: Key, claim: str, kept: Kept) -> None:
        """See KeyStore."""
        del claim
        owner = self._owner(key.owner)
        self._put(owner, key.name, fitting(kept, self._config))
        for name, (one, expires_at) in list(owner.keys.items()) if owner.bytes > self._config.max_bytes else ():
            short = without_answer(one)
            owner.bytes += len(short.body) - len(one.body)
            owner.keys[name] = short, expires_at
            if owner.bytes <= self._config.max_bytes:
                break

    async def release(self, key: Key, claim: str) -> None:
        """See KeyStore."""
        del claim
        owner = self._owner(key.owner)
        if (found := owner.keys.pop(key.name, None)) is not None:
            owner.bytes -= len(found[0].body)
        if not owner.keys:
            self._owners.pop(key.owner, None)

    async def renew(self, worker: str) -> None:
        """Claims end with the process, and are known to it only."""

    async def close(self) -> None:
        """Nothing to let go of."""

    def _owner(self, name: str) -> _Owner:
        """The principal's keys, without those whose time is over."""
        owner = self._owners.get(name)
        if owner is None:
            owner = self._owners[name] = _Owner()
        now = self._clock()
        while owner.keys and (oldest := next(iter(owner.keys.items())))[1][1] <= now:
            if oldest[1][0].state is State.RUNNING:
                owner.keys.move_to_end(oldest[0])
                owner.keys[oldest[0]] = oldest[1][0], now + self._config.keep_s
                continue
            owner.bytes -= len(owner.keys.pop(oldest[0])[0].body)
        return owner

    def _put(self, owner: _Owner, name: str, kept: Kept) -> None:
        if (old := owner.keys.get(name)) is not None:
            owner.bytes -= len(old[0].body)
        owner.keys[name] = kept, self._clock() + self._config.keep_s
        owner.keys.move_to_end(name)
        owner.bytes += len(kept.body)


def fitting(kept: Kept, config: IdempotencyConfig) -> Kept:
    """What is kept of an answer: a summary, when it would push out too many others of its owner."""
    return without_answer(kept) if len(kept.body) > config.max_bytes // LARGEST_ANSWER else kept


def too_many_keys(config: IdempotencyConfig, retry_s: float) -> TooManyRequests:
    """No key is forgotten before its time, so that no more can be taken."""
    return TooManyRequests(
        f"You have used {config.max_keys} Idempotency-Keys within {config.keep_s:g} s; the call was not made",
        headers={"Retry-After": str(max(1, int(retry_s)))},
        extra={"rule": "idempotency.max_keys", "limit": config.max_keys},
    )
