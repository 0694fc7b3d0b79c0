"""The keys that this worker has claimed: its lease on them, who waits for them, and what the store does not know yet.

The rules:
1. A claim is in the store before the call is made. While the worker holds claims it renews one lease for all of them.
2. A call that was not sent when the lease has ended is not sent any more (`may_send`): others may have been told that
   nothing is known of it. One that was sent is waited for, and what became of it is kept, however late.
3. What the store could not be told (an answer, a release) is told again until it knows; this worker knows meanwhile.
4. A claim in this worker's name that it does not know of is from a call that never came to be made: it is void.
5. Who asks for a running key waits for it, `WAIT_S` at most.
"""

import asyncio
import itertools
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

from sanic_qserver.errors import Overloaded
from sanic_qserver.middleware.idempotency.keys import LEASE_S, Kept, Key, KeyStore, State, StoreUnavailable
from sanic_qserver.tasks import end_tasks

log = logging.getLogger("sanic_qserver.idempotency")

WAIT_S = 10.0  # For the first call with the same key to end.
_POLL_S = 0.1  # How often a key that runs at another worker is looked at.
_RENEW_S = LEASE_S / 4
_TELL_AGAIN_S = 0.5
_END_S = 2.0  # For calls to come to their end when the server stops.
_REFUSED_S = 120.0  # How long the first refusal of a key gives its later tries precedence.
_MOST_REFUSED = 10_000
_MOST_UNTOLD = 10_000


class _Claim:
    """A key that this worker has claimed. `kept`: what became of it, as far as the store does not know it yet."""

    __slots__ = ("ended", "fingerprint", "is_released", "kept", "name")

    def __init__(self, name: str, fingerprint: str) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.kept: Kept | None = None
        self.is_released = False

    @property
    def is_over(self) -> bool:
        """Whether the call has ended: then only the store has to be told."""
        return self.kept is not None or self.is_released

    def end(self) -> None:
        """Wake those who wait."""
        if not self.ended.done():
            self.ended.set_result(None)


class Claims:
    """All that the middleware asks. One a process."""

    def __init__(self, store: KeyStore, clock: Callable[[], float] = monotonic) -> None:
        self.store = store
        self.worker = secrets.token_hex(8)
        self._clock = clock
        self._numbers = itertools.count(1)
        self._mine: dict[Key, _Claim] = {}
        self._holds_until = -1.0
        self._renewing: asyncio.Task[None] | None = None
        self._refused: OrderedDict[Key, float] = OrderedDict()

    async def claim(self, key: Key, fingerprint: str) -> Kept | None:
        """None: the key is the caller's now. Else what is known of it. Raises Overloaded, TooManyRequests."""
        until = self._clock() + WAIT_S
        while True:
            known = await self._claim_now(key, fingerprint, until)
            if known is None or known.state is not State.RUNNING or known.fingerprint != fingerprint:
                return known
            if self._clock() >= until:
                return known
            if key not in self._mine:  # It runs at another worker.
                await asyncio.sleep(_POLL_S)

    async def read(self, key: Key) -> Kept | None:
        """What is known of a key, without claiming it. Raises Overloaded when the store is away."""
        known = self._mine.get(key)
        if known is not None and known.kept is not None:
            return known.kept
        try:
            return await self.store.read(key)
        except StoreUnavailable as error:
            log.warning("[idempotency] store is not reachable: %s", error)
            raise Overloaded("The store of Idempotency-Keys is not reachable", headers={"Retry-After": "2"}) from None

    async def keep(self, key: Key, kept: Kept) -> None:
        """What became of a claimed key. The call was made: a store that is away is told later."""
        self._refused.pop(key, None)
        claim = self._mine[key]
        claim.kept = kept
        claim.end()
        await self._tell(key, claim)

    async def release(self, key: Key) -> None:
        """Nothing was done under a claimed key: it may be used again."""
        self._refused.setdefault(key, self._clock())
        while len(self._refused) > _MOST_REFUSED or self._clock() - next(iter(self._refused.values())) > _REFUSED_S:
            self._refused.popitem(last=False)
            if not self._refused:
                break
        claim = self._mine[key]
        claim.is_released = True
        claim.end()
        await self._tell(key, claim)

    def refused_at(self, key: Key) -> float | None:
        """When a call with this key was refused for the first time, if it has not been made since."""
        return self._refused.get(key)

    def may_send(self) -> bool:
        """Whether the claims of this worker hold, for all that it knows."""
        return self._clock() < self._holds_until

    async def close(self) -> None:
        """Tell the store what it does not know yet, if it can be told now, and let go of it."""
        await end_tasks(self._renewing)
        if running := [claim.ended for claim in self._mine.values() if not claim.is_over]:
            await asyncio.wait(running, timeout=_END_S)
        for key, claim in list(self._mine.items()):
            if claim.is_over and not await self._tell(key, claim):
                break
        await self.store.close()

    async def _claim_now(self, key: Key, fingerprint: str, until: float) -> Kept | None:
        known = self._mine.get(key)
        if known is not None and not known.is_released:
            if known.kept is None and known.fingerprint == fingerprint:
                await asyncio.wait((known.ended,), timeout=max(0.0, until - self._clock()))
            return known.kept or Kept(state=State.RUNNING, fingerprint=known.fingerprint)
        claim = self._mine[key] = _Claim(f"{self.worker}.{next(self._numbers)}", fingerprint)
        try:
            await self._hold()
            found = await self.store.claim(key, claim.name, fingerprint)
        except StoreUnavailable as error:
            self._give_up(key, claim)
            log.warning("[idempotency] store is not reachable: %s", error)
            raise Overloaded(
                "The store of Idempotency-Keys is not reachable; the call was not made", headers={"Retry-After": "2"}
            ) from None
        except BaseException:
            self._give_up(key, claim)
            raise
        if found is not None:
            self._give_up(key, claim)
        return found

    def _give_up(self, key: Key, claim: _Claim) -> None:
        """The key is not this worker's after all."""
        if self._mine.get(key) is claim:
            del self._mine[key]
        claim.is_released = True
        claim.end()

    async def _hold(self) -> None:
        """Have a lease that holds for some time, and renew it for as long as there are claims."""
        if self._holds_until - self._clock() < LEASE_S / 2:
            await self._renew()
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._keep_holding())

    async def _renew(self) -> None:
        asked_at = self._clock()
        await self.store.renew(self.worker)
        self._holds_until = asked_at + LEASE_S

    async def _keep_holding(self) -> None:
        """Renew the lease, and tell the store what it does not know yet, until nothing is left to do."""
        renew_at = self._clock() + _RENEW_S
        while self._mine:
            await asyncio.sleep(_TELL_AGAIN_S)
            if self._clock() >= renew_at:
                renew_at = self._clock() + _RENEW_S
                try:
                    await self._renew()
                except StoreUnavailable as error:
                    log.warning("The lease on Idempotency-Keys was not renewed: %s", error)
                    continue
            for key, claim in list(self._mine.items()):
                if claim.is_over and not await self._tell(key, claim):
                    break

    async def _tell(self, key: Key, claim: _Claim) -> bool:
        """Tell the store what became of a key. False when it cannot be told now."""
        try:
            if claim.kept is not None:
                await self.store.keep(key, claim.name, claim.kept)
            else:
                await self.store.release(key, claim.name)
        except StoreUnavailable as error:
            log.warning("What became of an Idempotency-Key is told to the store later: %s", error)
            self._bound()
            return False
        if self._mine.get(key) is claim:
            del self._mine[key]
        return True

    def _bound(self) -> None:
        """Keep what the store does not know within bounds: the oldest answers become unknown in a moment."""
        untold = [key for key, claim in self._mine.items() if claim.is_over]
        for key in untold[: max(0, len(untold) - _MOST_UNTOLD)]:
            del self._mine[key]
