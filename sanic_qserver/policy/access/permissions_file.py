"""The form of `policies/permissions.yaml`. What it comes to is decided in `permissions.py`."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct, field

from sanic_qserver.errors import ConfigError
from sanic_qserver.policy.access.roles import Role, Words
from sanic_qserver.policy.files.documents import Document
from sanic_qserver.structs.identity import Quota


class Grant(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Roles, and what goes with them, for as long as the window is open (always, without `from` and `until`)."""

    roles: Words = ()
    user_group: str = ""
    quota: Quota | None = None
    metadata: dict[str, Any] = {}
    begin: Any = field(default=None, name="from")
    until: Any = None
    time_zone: str = ""


class User(Grant, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One person or program, by login. With `provider`, only who logged in there is meant."""

    displayed_name: str | None = None
    email: str | None = None
    provider: str = ""


class ClaimGrant(Grant, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Roles for those whose token says so: `claim` is a dotted path, `matches` a pattern of its value or values."""

    claim: str
    matches: Words


class Default(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What those get to whom nothing else applies. Roles here let everybody in who can log in."""

    roles: Words = ()
    user_group: str = ""
    quota: Quota | None = None
    metadata: dict[str, Any] = {}


class PermissionsFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file. `user_group` is the short form of `default.user_group`."""

    roles: dict[str, Role | None] = {}
    users: dict[str, User | None] = {}
    groups: dict[str, Grant] = {}
    claims: tuple[ClaimGrant, ...] = ()
    default: Default = Default()
    user_group: str = "primary"
    time_zone: str = "UTC"
    only_on_loopback: bool = False


_PARTS: Mapping[str, Any] = {"roles": Role | None, "users": User | None, "groups": Grant}


def permissions_file(document: Document) -> PermissionsFile:
    """The document as structs. Raises ConfigError, naming the line and the entry."""
    try:
        return msgspec.convert(document.values, PermissionsFile)
    except msgspec.ValidationError as error:
        raise ConfigError(_where(document, error)) from None


def _where(document: Document, error: msgspec.ValidationError) -> str:
    """The library does not name the key of a mapping that is wrong: look for it."""
    for part, kind in _PARTS.items():
        entries = document.values.get(part)
        for name, entry in (entries if isinstance(entries, Mapping) else {}).items():
            try:
                msgspec.convert(name, str)
                msgspec.convert(entry, kind)
            except msgspec.ValidationError as found:
                return f"{document.place((part, name))}: {part}.{name}: {found!s}"
    return f"{document.source}: {error}"
