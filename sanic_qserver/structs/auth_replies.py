"""What `/api/auth/…` answers. Names and shapes are those of the reference server; ours stand after them."""

from datetime import UTC, datetime
from typing import Any, Literal

from msgspec import Struct, field


def time_text(at: float | None) -> str | None:
    """A POSIX time as ISO 8601 in UTC; None for none."""
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat()


class TokenReply(Struct, frozen=True, kw_only=True):
    """What a login or a refresh gives. Ages are in seconds."""

    access_token: str
    expires_in: float
    refresh_token: str
    refresh_token_expires_in: float
    token_type: Literal["bearer"] = "bearer"  # noqa: S105  # a kind, not a secret


class IdentityInfo(Struct, frozen=True, kw_only=True):
    """A login at a provider."""

    id: str
    provider: str
    latest_login: str | None = None


class ApiKeyInfo(Struct, frozen=True, kw_only=True):
    """A key without its secret. `scopes` is `["inherit"]` or a list."""

    first_eight: str
    expiration_time: str | None = None
    note: str | None = None
    scopes: list[str]
    latest_activity: str | None = None


class NewApiKey(ApiKeyInfo, frozen=True, kw_only=True):
    """A new key. The secret is shown this once."""

    secret: str


class SessionInfo(Struct, frozen=True, kw_only=True):
    """A session that is open."""

    uuid: str
    expiration_time: str | None
    revoked: bool = False
    created_at: str | None = None


class PrincipalInfo(Struct, frozen=True, kw_only=True):
    """Somebody known to the server. `api_key_scopes` and `api_key` are of the credential in use."""

    uuid: str
    type: Literal["user", "service"]
    identities: list[IdentityInfo]
    api_keys: list[ApiKeyInfo]
    sessions: list[SessionInfo]
    latest_activity: str | None = None
    roles: list[str] = []
    scopes: list[str] = []
    api_key_scopes: list[str] | None = None
    api_key: str | None = None
    session: str | None = None


class ScopesReply(Struct, frozen=True, kw_only=True):
    """What the caller may do, sorted."""

    roles: list[str]
    scopes: list[str]


class DoneReply(Struct, frozen=True, kw_only=True):
    """It is done."""

    success: bool = True
    msg: str = ""


class TicketReply(Struct, frozen=True, kw_only=True):
    """A ticket for one websocket or stream. `expires_in` is in seconds."""

    ticket: str
    expires_in: float


class CookieReply(Struct, frozen=True, kw_only=True):
    """The session cookie was set. Send `csrf_token` as header `X-CSRF` with what changes something."""

    csrf_token: str
    expires_in: float


class DeviceReply(Struct, frozen=True, kw_only=True):
    """A login that a terminal has begun and a browser must end. `interval` and `expires_in` are in seconds."""

    authorization_uri: str
    verification_uri: str
    verification_uri_complete: str
    user_code: str
    device_code: str
    interval: int
    expires_in: float


class ProviderInfo(Struct, frozen=True, kw_only=True):
    """A way to log in. `mode` is "password" (form at `links.token`) or "external" (browser at `links.authorize`)."""

    provider: str
    mode: Literal["password", "external", "header"]
    title: str
    links: dict[str, str] = field(default_factory=dict)


class AboutReply(Struct, frozen=True, kw_only=True):
    """What this server is, and how to log in. When the caller may read it, RE Manager's status stands beside."""

    server: str
    server_version: str
    api_version: int
    authentication: dict[str, Any]
    links: dict[str, str]
