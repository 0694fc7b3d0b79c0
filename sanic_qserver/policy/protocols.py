"""The two protocols of policy: what a principal may do, and how often. Plus their "off" forms."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from msgspec import Struct

from sanic_qserver.scopes import Scope
from sanic_qserver.structs.identity import Access, Principal


class AccessPolicy(Protocol):
    """Decides roles, scopes, user group and quotas of a principal.

    `version` changes whenever an answer may: the gate keeps decisions only as long as it stands.
    """

    @property
    def version(self) -> int:
        """A number that grows with each change of the policy."""
        ...

    def access_of(self, principal: Principal) -> Access:
        """What the principal may do now. Raises NotAuthenticated for one who may not enter at all."""
        ...


class Attempt(Struct, frozen=True, kw_only=True):
    """One try to do something, as the rate policy sees it. `cost` counts items of a batch, else 1.

    `is_stream`: it stays open, as websockets and streams do.
    """

    access: Access
    path: str
    scope: Scope | None
    address: str
    cost: int = 1
    is_stream: bool = False


class Verdict(Struct, frozen=True, kw_only=True):
    """The rate policy's answer to an attempt that may pass: headers to send with the response."""

    headers: Mapping[str, str] = {}


PASS = Verdict()


class RatePolicy(Protocol):
    """Decides how often. Raises TooManyRequests (with `Retry-After` and the rule's name) to refuse.

    `admit` counts an attempt; `enter` and `leave` bracket what counts as concurrent (requests, open streams).
    """

    @property
    def counts_requests(self) -> bool:
        """Whether requests in flight have to `enter` and `leave`. Streams always do."""
        ...

    async def admit(self, attempt: Attempt) -> Verdict:
        """Count the attempt against every rule that matches it. A counter that cannot be reached lets it pass."""
        ...

    async def admit_items(self, attempt: Attempt) -> None:
        """Count `attempt.cost` further items of a batch. A counter that cannot be reached lets them pass."""
        ...

    async def admit_login(self, attempt: Attempt) -> Verdict:
        """Count a try to log in. A counter that cannot be reached refuses: Overloaded."""
        ...

    async def enter(self, attempt: Attempt) -> object:
        """Take a place under the concurrency rules; the returned ticket is handed to `leave`."""
        ...

    def leave(self, ticket: object) -> None:
        """Give the place back."""
        ...


@runtime_checkable
class Background(Protocol):
    """A policy that does something by itself: fetches, watches. Started and stopped with the server."""

    async def start(self) -> None:
        """Begin, on the running loop. What cannot be had yet is tried for again later."""
        ...

    async def stop(self) -> None:
        """End, and wait for the end."""
        ...

    async def reload(self) -> None:
        """Somebody asked for what is in force to be read anew (SIGHUP)."""
        ...


class NoRateLimits:
    """Lets everything pass. A custom policy may start from it."""

    counts_requests = False

    async def admit(self, attempt: Attempt) -> Verdict:  # noqa: ARG002  # the protocol's name
        """Pass."""
        return PASS

    async def admit_items(self, attempt: Attempt) -> None:
        """Pass."""

    async def admit_login(self, attempt: Attempt) -> Verdict:
        """Pass, as any other attempt."""
        return await self.admit(attempt)

    async def enter(self, attempt: Attempt) -> object:  # noqa: ARG002  # the protocol's name
        """No place is counted."""
        return None

    def leave(self, ticket: object) -> None:
        """Nothing to give back."""
