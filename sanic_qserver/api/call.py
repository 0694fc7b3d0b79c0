"""One admitted request: what a row is served with."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec import to_builtins

from sanic_qserver.api.endpoint import Endpoint, Stream
from sanic_qserver.api.services import Services
from sanic_qserver.manager.client.client import ManagerClient
from sanic_qserver.structs.identity import PUBLIC, Access
from sanic_qserver.structs.requests import Params


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file that was uploaded in a form. `name` is the one that the client gave it: never use it as a path."""

    name: str
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Site:
    """How a client addresses this server. `host` as in a Host header; `prefix` stands before every path, or is ""."""

    scheme: str
    host: str
    prefix: str

    @property
    def base_url(self) -> str:
        """What stands before `/api`."""
        return f"{self.scheme}://{self.host or 'localhost'}{self.prefix}"


async def _always() -> None:
    """A check that passes, for calls that no gate made: those of tests."""


def _nowhere() -> Site:
    """A site, for the same calls."""
    return Site("http", "", "")


@dataclass(slots=True)
class Charges:
    """How many items the rate limits have counted for one call, and the headers that tell what is left."""

    items: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Call:
    """One admitted request: the row, its decoded params, who asks, and what serves it.

    `path_args` holds what stands in the path: `<uid>` of the row is `path_args["uid"]`. `query` is the query string.
    `charges`: what the rate limits counted for its items.
    `headers` have lower-case names; `files` are filled for rows that read a form; `unknown` holds params that
    the struct does not know (only where the site lets them pass). The gate makes every call, before the body is read:
    `params` come after.
    What takes long asks `check_again` before each step: it raises NotAuthenticated or ScopeMissing when the
    credential, or what it may do, has ended since. `find_site` tells how the client addresses this server.
    """

    endpoint: Endpoint | Stream
    params: Params
    access: Access
    request_id: str
    services: Services
    headers: Mapping[str, str]
    path_args: Mapping[str, str]
    address: str = ""
    unknown: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, UploadedFile] = field(default_factory=dict)
    query: str = ""
    charges: Charges = field(default_factory=Charges)
    check_again: Callable[[], Awaitable[None]] = _always
    find_site: Callable[[], Site] = _nowhere

    @property
    def manager(self) -> ManagerClient:
        """The RE Manager client."""
        return self.services.manager

    @property
    def fairness_key(self) -> str:
        """Ordering and fairness key of this caller: its calls keep their order, and take turns with those of others."""
        principal = self.access.principal
        return principal.name if principal is not PUBLIC else f"{principal.name} {self.address}"

    async def ask(self, params: Params | None = None, method: str = "") -> bytes:
        """RE Manager's reply to the row's method with these params (default: the call's own).

        Params that the struct does not know go along, where the site wants it.
        """
        sent: Any = self.params if params is None else params
        if self.unknown:
            sent = {**to_builtins(sent), **self.unknown}
        return await self.services.manager.request(method or self.endpoint.method, sent, fairness_key=self.fairness_key)
