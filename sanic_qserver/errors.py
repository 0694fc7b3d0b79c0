"""The exception tree: everything that a client can be told about, on one screen.

The edge (`http/errors.py`) turns each into a problem document (RFC 9457). `code` is for programs and
never changes; the text may, except what stands in `texts.py`, because clients match it.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from sanic_qserver.texts import Text


class GatewayError(Exception):
    """A failure the client is told about: HTTP `status`, stable `code`, human `detail`.

    `extra` members join the problem document; `headers` join the response.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"

    def __init__(
        self,
        detail: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})


class BadArguments(GatewayError):
    """An argument has a wrong type or value, is missing, or is unknown; `detail` names the field."""

    status, code, title = 400, "bad_arguments", "Bad arguments"


class NotAuthenticated(GatewayError):
    """No credential where one is needed, or a bad one. Providers raise it for a credential of theirs that is bad."""

    status, code, title = 401, "not_authenticated", "Not authenticated"


class InvalidApiKey(NotAuthenticated):
    """Clients match the text `Invalid API key`."""

    code, title = "invalid_api_key", str(Text.INVALID_API_KEY)


class AccessTokenExpired(NotAuthenticated):
    """The official client refreshes when `detail` starts with `Access token has expired`."""

    code, title = "access_token_expired", f"{Text.ACCESS_TOKEN_EXPIRED}. Refresh token."


class InvalidAccessToken(NotAuthenticated):
    """Clients match the text `Could not validate credentials`."""

    code, title = "invalid_access_token", str(Text.INVALID_TOKEN)


class LoginRefused(NotAuthenticated):
    """Wrong name or password, or a provider that says no."""

    code, title = "login_refused", str(Text.LOGIN_REFUSED)


class SessionExpired(NotAuthenticated):
    """A refresh token that is spent, revoked or too old."""

    code, title = "session_expired", f"{Text.SESSION_EXPIRED}."


class ScopeMissing(GatewayError):
    """The caller is known but holds too little. `detail` starts `Not enough permissions`."""

    status, code, title = 403, "scope_missing", "Not enough permissions"


class NotOwner(GatewayError):
    """The caller may act on own items only; `extra["foreign_uids"]` names the others."""

    status, code, title = 403, "not_owner", "Not enough permissions"


class Forbidden(GatewayError):
    """The caller may do this in general but not so: a failed CSRF or Origin check, a rule of the site."""

    status, code, title = 403, "forbidden", "Not enough permissions"


class HostNotAllowed(GatewayError):
    """The request names a host that is not this server: a page elsewhere may have pointed its own name here."""

    status, code, title = 421, "host_not_allowed", "Misdirected request"


class NotFound(GatewayError):
    """There is nothing of that name: a path, an item, a key."""

    status, code, title = 404, "not_found", "Not found"


class MethodNotAllowed(GatewayError):
    """The path exists, the verb does not; header `Allow` lists those that do."""

    status, code, title = 405, "method_not_allowed", "Method not allowed"


class ManagerTimeout(GatewayError):
    """RE Manager got the call and did not answer in time. The official client shows `Request timeout`."""

    status, code, title = 408, "manager_timeout", "Request timeout"


class ManagerLost(ManagerTimeout):
    """The connection died while the call was under way: no answer will come."""

    code = "manager_lost"


class Conflict(GatewayError):
    """The present state does not allow it: something is there already, or has changed meanwhile."""

    status, code, title = 409, "conflict", "Conflict"


class ReviewRequired(GatewayError):
    """What this caller submits is reviewed first; the detail says how to propose it."""

    status, code, title = 403, "review_required", "Not enough permissions"


class PreconditionFailed(GatewayError):
    """`If-Match` names another version than the one that is there."""

    status, code, title = 412, "precondition_failed", "Precondition failed"


class PreconditionRequired(GatewayError):
    """The call needs an `If-Match`: nobody decides on what they have not seen."""

    status, code, title = 428, "precondition_required", "Precondition required"


class BodyTooLarge(GatewayError):
    """The body is over the configured size."""

    status, code, title = 413, "body_too_large", "Body too large"


class UnsupportedMediaType(GatewayError):
    """The body is of a kind that this endpoint does not read."""

    status, code, title = 415, "unsupported_media_type", "Unsupported media type"


class UpgradeRequired(GatewayError):
    """The path is a websocket's, and the request does not ask for one."""

    status, code, title = 426, "upgrade_required", "Upgrade required"


class UnreadableBody(GatewayError):
    """The body is not what its type says: broken JSON, not UTF-8, nested too deeply, not an object."""

    status, code, title = 422, "unreadable_body", "Unreadable body"


class KeyReused(GatewayError):
    """An `Idempotency-Key` that stands for another call already."""

    status, code, title = 422, "idempotency_key_reused", "Idempotency-Key reused"


class TooManyRequests(GatewayError):
    """A rate, concurrency or quota rule said no; `extra["rule"]` names it."""

    status, code, title = 429, "too_many_requests", "Too many requests"


class ExtensionFailed(GatewayError):
    """Code of a custom module raised, took too long or blocked the server; `extra["extension"]` names the module."""

    status, code, title = 502, "extension_failed", "An extension failed"


class ValidationBroken(GatewayError):
    """RE Manager added what it should only have judged."""

    status, code, title = 502, "validation_broken", "RE Manager cannot validate without adding"


class Overloaded(GatewayError):
    """The call was not sent: too many wait already, or it waited too long. Safe to try again."""

    status, code, title = 503, "overloaded", "Overloaded"


class ManagerUnavailable(GatewayError):
    """There is no connection to RE Manager: the call was not sent. Safe to try again."""

    status, code, title = 503, "manager_unavailable", "RE Manager is not available"


class ShuttingDown(GatewayError):
    """This server is stopping."""

    status, code, title = 503, "shutting_down", "Shutting down"


class ConfigError(Exception):
    """A configuration or policy file holds a mistake; the text names file, path and fact."""
