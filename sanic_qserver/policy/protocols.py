"""The interfaces of policies: what a principal may do, and how often; and the rate policy that limits nothing."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from msgspec import Struct

from sanic_qserver.scopes import Scope
from sanic_qserver.structs.identity import Access, Principal


class AccessPolicy(Protocol):
    """Decides roles, scopes, user group and quotas of a principal.

    The gate caches decisions for as long as `version` stays the same.
    """

    @property
    def version(self) -> int:
        """A number that grows with each change of the policy."""
        ...

    def access_of(self, principal: Principal) -> Access:
        """What the principal may do now. Raises NotAuthenticated for one who has no access at all."""
        ...


class Attempt(Struct, frozen=True, kw_only=True):
    """A request, as the rate policy sees it. `cost`: its items; 0 while they are not known, else 1.

    `is_stream`: it stays open, as websockets and streams do.
    """

    access: Access
    path: str
    scope: Scope | None
    address: str
    cost: int = 1
    is_stream: bool = False


class Verdict(Struct, frozen=True, kw_only=True):
    """The rate policy's answer to an admitted request: headers for the response."""

    headers: Mapping[str, str] = {}


PASS = Verdict()


class RatePolicy(Protocol):
    """Limits rates. Raises TooManyRequests (with `Retry-After` and the rule's name) to refuse.

    `admit` charges a request; `enter` and `leave` hold concurrency slots (requests in flight, open streams).
    """

    @property
    def counts_requests(self) -> bool:
        """Whether requests in flight have to `enter` and `leave`. Streams always do."""
        ...

    async def admit(self, attempt: Attempt) -> Verdict:
        """Charge every matching rule. Fails open: it admits when the counters are unavailable."""
        ...

    async def admit_items(self, attempt: Attempt) -> Verdict | None:
        """Charge `attempt.cost` items, all or none: the request that brought them was charged with none. Fails open.

        None says nothing about what is left.
        """
        ...

    async def admit_login(self, attempt: Attempt) -> Verdict:
        """Charge a login attempt. Fails closed: Overloaded when the counters are unavailable."""
        ...

    async def enter(self, attempt: Attempt) -> object:
        """Take a concurrency slot; the returned ticket is passed to `leave`."""
        ...

    def leave(self, ticket: object) -> None:
        """Release the slot."""
        ...


@runtime_checkable
class Background(Protocol):
    """A policy with work of its own (fetching, polling). Started and stopped with the server."""

    async def start(self) -> None:
        """Start, on the running loop. What is not available yet is tried again later."""
        ...

    async def stop(self) -> None:
        """Stop, and wait until it has stopped."""
        ...

    async def reload(self) -> None:
        """Reload: an operator asked for it (SIGHUP)."""
        ...


class NoRateLimits:
    """Admits everything. A custom policy may build on it."""

    counts_requests = False

    async def admit(self, attempt: Attempt) -> Verdict:  # noqa: ARG002  # the protocol's name
        """Admit."""
        return PASS

    async def admit_items(self, attempt: Attempt) -> Verdict | None:  # noqa: ARG002  # the protocol's name
        """Admit."""
        return None

    async def admit_login(self, attempt: Attempt) -> Verdict:
        """Admit, as any other request."""
        return await self.admit(attempt)

    async def enter(self, attempt: Attempt) -> object:  # noqa: ARG002  # the protocol's name
        """Nothing is counted."""
        return None

    def leave(self, ticket: object) -> None:
        """Nothing to release."""
