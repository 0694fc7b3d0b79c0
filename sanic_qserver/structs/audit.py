"""The audit trail: what an entry holds, and how it is asked for. No secrets, no bodies of scripts."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field, structs

from sanic_qserver.structs.requests import Params

Outcome = Literal["done", "refused", "denied", "failed", "unknown"]
"""`refused`: RE Manager said no. `denied`: this server did. `unknown`: sent, and no answer came in time."""


class AuditEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call that changed something or was meant to, or one denial.

    `at` is a POSIX time. `user` is the login, `submitted_as` what RE Manager was told, `key_id` the first eight
    characters of the API key. `more` holds names of plans, a hash of a script, a login that was tried.
    """

    at: float
    outcome: Outcome
    endpoint: str
    user: str = ""
    provider: str = ""
    submitted_as: str = ""
    address: str = ""
    key_id: str = ""
    status: int = 200
    code: str = ""
    detail: str = ""
    request_id: str = ""
    item_uids: tuple[str, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)


def harmless(entry: AuditEntry) -> AuditEntry:
    """The entry with its lone surrogates, which nothing can encode, written as escapes."""
    return AuditEntry(**{name: _encodable(value) for name, value in structs.asdict(entry).items()})


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_encodable(name): _encodable(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_encodable, value))
    return value


class KeptEntry(AuditEntry, frozen=True, kw_only=True, omit_defaults=True):
    """An entry in the table, with its number."""

    id: int


class AuditGet(Params, frozen=True, kw_only=True):
    """Read the audit trail, the newest first. `before_id` continues where the last page ended."""

    since: float | UnsetType = UNSET
    until: float | UnsetType = UNSET
    user: str | UnsetType = UNSET
    outcome: Outcome | UnsetType = UNSET
    item_uid: str | UnsetType = UNSET
    before_id: int | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class AuditReply(Struct, frozen=True, kw_only=True):
    """Entries of the audit trail; `next_before_id` is there when there may be more."""

    success: bool
    msg: str
    entries: list[KeptEntry]
    next_before_id: int | None = None
