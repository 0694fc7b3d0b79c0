"""Roles and their scopes, read from `policies/permissions.yaml`."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec import Struct

from sanic_qserver.errors import ConfigError
from sanic_qserver.scopes import Scope
from sanic_qserver.structs.identity import PUBLIC, SINGLE_USER, Access, Principal


class Role(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a role may do. A scope may be a pattern: `read:*`."""

    scopes: tuple[str, ...] = ()


class Permissions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file. `only_on_loopback` makes the server refuse to bind to anything else."""

    roles: dict[str, Role]
    user_group: str = "primary"
    only_on_loopback: bool = False


def load_permissions(file: Path) -> Permissions:
    """Read and check a file. Raises ConfigError with file and path."""
    try:
        content: Any = yaml.safe_load(file.read_text("utf-8"))
        permissions = msgspec.convert(content, Permissions)
        for name, role in permissions.roles.items():
            for pattern in role.scopes:
                if not _matching(pattern):
                    raise ConfigError(f"{file}: roles.{name}.scopes: '{pattern}' matches no scope")
    except (OSError, UnicodeDecodeError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise ConfigError(f"{file}: {error}") from None
    return permissions


def _matching(pattern: str) -> frozenset[Scope]:
    return frozenset(scope for scope in Scope if fnmatchcase(scope, pattern))


class FilePermissions:
    """An access policy from one file."""

    def __init__(self, permissions: Permissions) -> None:
        self.version = 1
        self._group = permissions.user_group
        self._scopes: Mapping[str, frozenset[Scope]] = {
            name: frozenset().union(*(_matching(pattern) for pattern in role.scopes))
            for name, role in permissions.roles.items()
        }

    def access_of(self, principal: Principal) -> Access:
        """Roles by who it is, scopes by role, less what the credential is limited to."""
        builtin = {SINGLE_USER.name: "unauthenticated_single_user", PUBLIC.name: "unauthenticated_public"}
        roles = (builtin[principal.name],) if principal.name in builtin else principal.roles
        scopes: frozenset[Scope] = frozenset().union(*(self._scopes.get(role, frozenset()) for role in roles))
        if principal.key_scopes is not None:
            scopes &= principal.key_scopes
        return Access(
            principal=principal,
            roles=roles,
            scopes=scopes,
            user=principal.displayed_name or principal.name,
            user_group=self._group,
            expires_at=principal.expires_at,
        )
