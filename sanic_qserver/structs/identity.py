"""Who is asking, and what they may do: the values that travel from the gate to the rows."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct, field

from sanic_qserver.scopes import Scope


class CredentialKind(StrEnum):
    """How a caller shows who they are."""

    ANONYMOUS = "anonymous"
    API_KEY = "api_key"
    BEARER = "bearer"
    COOKIE = "cookie"
    TICKET = "ticket"
    OTHER = "other"


class Credential(Struct, frozen=True, kw_only=True):
    """What the caller sent. `scheme` is the word before the value in `Authorization`, lower case.

    `address` is the client's IP, as configured proxies tell it; `peer` is that of the connection itself,
    "unix" over a unix socket.
    `headers` have lower-case names; `certificate` is what the client has shown in the TLS handshake, as
    Python tells it.
    The value is a secret: it never goes into a log, and `repr` hides it.
    """

    kind: CredentialKind
    value: str = ""
    scheme: str = ""
    address: str = ""
    peer: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    certificate: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Credential({self.kind.value}, address={self.address!r})"


class Principal(Struct, frozen=True, kw_only=True):
    """Who is asking, as the provider knows them. What they may do is the policy's business.

    `name` is the login at `provider`; the pair is unique. `groups` and `claims` come from the directory or token.
    `key_id` is the first eight characters of the API key in use; `key_scopes` limits what the credential may do
    (None: all that its owner may). `roles` are those that the provider gives; the policy adds its own. `is_service`: a
    program's account. `expires_at` is a POSIX time after which the credential must be checked again.
    """

    name: str
    provider: str
    uuid: str = ""
    displayed_name: str = ""
    email: str = ""
    roles: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    claims: Mapping[str, Any] = field(default_factory=dict)
    key_id: str = ""
    session_id: str = ""
    key_scopes: frozenset[str] | None = None
    expires_at: float | None = None
    is_service: bool = False


SINGLE_USER = Principal(name="UNAUTHENTICATED_SINGLE_USER", provider="__anonymous__")
PUBLIC = Principal(name="UNAUTHENTICATED_PUBLIC", provider="__anonymous__")


class Quota(Struct, frozen=True, kw_only=True):
    """How many items a principal may have waiting in the queue, and in one batch. None means no limit."""

    queue_items: int | None = None
    batch_items: int | None = None


class Access(Struct, frozen=True, kw_only=True):
    """A principal under the policy of this moment: what the gate decided once and the rows rely on.

    `user` and `user_group` are what RE Manager is told. `metadata` goes into the `meta` of each item. `review` is
    "required" or "automatic" for one whose items are reviewed, else "". `expires_at` is a POSIX time after which the
    decision must be made anew (end of a beamtime, of a key); None means until the policy changes.
    `scopes` may hold names that are no `Scope`, of a reference server's configuration: they grant nothing.
    """

    principal: Principal
    roles: tuple[str, ...]
    scopes: frozenset[str]
    user: str
    user_group: str
    quota: Quota = Quota()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    review: str = ""
    expires_at: float | None = None

    def holds(self, scope: Scope) -> bool:
        """Whether the caller may do what asks for `scope`."""
        return scope in self.scopes
