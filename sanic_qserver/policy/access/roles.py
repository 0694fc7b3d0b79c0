"""Roles and the scopes they come to: the built-in ones, and what a site makes of them.

The rules:
1. A role starts from `scopes_set`, or else from its built-in scopes, or else from nothing.
2. To these come the scopes of the roles it `inherits`, then `scopes_add`; then `scopes_remove` goes.
3. `read:*` stands for every scope that begins so. A pattern never means a scope that a larger one covers
   (`write:queue:edit:own` and the proposals, covered by `write:queue:edit`): who removes the larger one would otherwise
   leave the others behind.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from sanic_qserver.errors import ConfigError
from sanic_qserver.scopes import COVERED_BY_EDIT, Scope
from sanic_qserver.structs.identity import Quota

Words = tuple[str, ...] | str | None
"""One word, several, or none."""

SINGLE_USER_ROLE = "unauthenticated_single_user"
PUBLIC_ROLE = "unauthenticated_public"

_USER = (
    "read:*",
    "write:queue:*",
    "write:manager:control",
    "write:plan:control",
    "write:execute",
    "write:history:edit",
    "user:apikeys",
)
BUILT_IN: Mapping[str, tuple[str, ...]] = {
    SINGLE_USER_ROLE: ("read:*", "write:*", "user:apikeys"),
    PUBLIC_ROLE: (),
    "admin": ("read:status", "user:apikeys", "admin:apikeys", "admin:read:principals", "admin:metrics"),
    "expert": (*_USER, "write:permissions", "write:scripts", "write:config", "write:lock"),
    "advanced": _USER,
    "user": _USER,
    "observer": ("read:*", "user:apikeys"),
}
"""The roles that every site has, with exactly the scopes that the reference server gives them."""

ANONYMOUS_BUILT_IN: Mapping[str, tuple[str, ...]] = {**BUILT_IN, PUBLIC_ROLE: ("read:status",)}
"""The same where `[auth] allow_anonymous_access` is set."""


class Role(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a role may do, as a policy file says it. `scopes` is the short name of `scopes_set`.

    `unknown_scopes` are names from a configuration of the reference server that mean nothing here: they are reported
    among the scopes of whoever has the role, and grant nothing.

    A role that names no user group, quota or review has that of the first role it inherits that does.
    """

    scopes: Words | UnsetType = UNSET
    scopes_set: Words | UnsetType = UNSET
    scopes_add: Words = ()
    scopes_remove: Words = ()
    unknown_scopes: Words = ()
    inherits: Words = ()
    user_group: str = ""
    quota: Quota | None = None
    metadata: dict[str, Any] = {}
    review: Literal["", "none", "required", "automatic"] = ""


NO_ROLE = Role(scopes_set=())


class Step(Struct, frozen=True):
    """One step on the way to a role's scopes: what was done, by which pattern, and where it is written.

    `path` is the place in the policy file; empty for what is built in.
    """

    role: str
    does: str
    pattern: str
    path: tuple[str | int, ...]


def words(value: Words | UnsetType) -> tuple[str, ...]:
    """One word, several or none, as a tuple."""
    if value is UNSET or value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


def stated(name: str, field: str, roles: Mapping[str, Role | None]) -> Any:
    """What a role, or the first it inherits that states it, says in a field; None when nobody does."""
    role = roles.get(name)
    if role is None:
        return None
    above = (stated(one, field, roles) for one in words(role.inherits))
    return getattr(role, field) or next((said for said in above if said), None)


@lru_cache(1024)
def matching(pattern: str) -> frozenset[Scope]:
    """The scopes that a pattern means."""
    return frozenset(
        scope for scope in Scope if scope == pattern or (fnmatchcase(scope, pattern) and scope not in COVERED_BY_EDIT)
    )


def list_steps(
    name: str, roles: Mapping[str, Role | None], built_in: Mapping[str, tuple[str, ...]] = BUILT_IN
) -> Iterator[Step]:
    """The steps to a role's own scopes, in order. Inherited roles are steps too: `pattern` is then their name."""
    role = roles.get(name, Role()) or NO_ROLE
    if role.scopes is not UNSET or role.scopes_set is not UNSET:
        field = "scopes" if role.scopes is not UNSET else "scopes_set"
        yield from _listed(name, "sets", field, words(getattr(role, field)))
    else:
        yield from (Step(name, "has built in", pattern, ()) for pattern in built_in.get(name, ()))
    yield from _listed(name, "inherits", "inherits", words(role.inherits))
    yield from _listed(name, "adds", "scopes_add", words(role.scopes_add))
    yield from _listed(name, "removes", "scopes_remove", words(role.scopes_remove))


def _listed(name: str, does: str, field: str, patterns: tuple[str, ...]) -> Iterator[Step]:
    for number, pattern in enumerate(patterns):
        yield Step(name, does, pattern, ("roles", name, field, number))


def unknown_scopes_by_role(roles: Mapping[str, Role | None]) -> dict[str, frozenset[str]]:
    """The scope names of a reference configuration that mean nothing here, of the roles that have any."""
    found = {name: _unknown_scopes(name, roles) for name in roles}
    return {name: names for name, names in found.items() if names}


def _unknown_scopes(name: str, roles: Mapping[str, Role | None]) -> frozenset[str]:
    """Inherited ones too. Roles that inherit in a circle were refused before."""
    role = roles.get(name) or NO_ROLE
    above = (_unknown_scopes(one, roles) for one in words(role.inherits))
    return frozenset(words(role.unknown_scopes)).union(*above)


def scopes_by_role(
    roles: Mapping[str, Role | None], source: str, built_in: Mapping[str, tuple[str, ...]] = BUILT_IN
) -> dict[str, frozenset[Scope]]:
    """What every role comes to. Raises ConfigError for an unknown scope or role, or roles that inherit in a circle."""
    known: dict[str, frozenset[Scope]] = {}

    def resolve(name: str, below: tuple[str, ...]) -> frozenset[Scope]:
        if name in known:
            return known[name]
        if name in below:
            raise ConfigError(f"{source}: roles.{name}.inherits: a circle: {' > '.join((*below, name))}")
        scopes: set[Scope] = set()
        for step in list_steps(name, roles, built_in):
            if step.does == "inherits":
                if step.pattern not in roles and step.pattern not in BUILT_IN:
                    raise ConfigError(f"{source}: roles.{name}.inherits: there is no role '{step.pattern}'")
                scopes |= resolve(step.pattern, (*below, name))
                continue
            meant = matching(step.pattern)
            if not meant:
                raise ConfigError(_unknown(step, source))
            scopes = scopes - meant if step.does == "removes" else scopes | meant
        known[name] = frozenset(scopes)
        return known[name]

    for name in (*BUILT_IN, *roles):
        role = roles.get(name)
        if role is not None and role.scopes is not UNSET and role.scopes_set is not UNSET:
            raise ConfigError(f"{source}: roles.{name}: 'scopes' and 'scopes_set' are the same: give one")
        resolve(name, ())
    return known


def _unknown(step: Step, source: str) -> str:
    path = ".".join(map(str, step.path[:-1]))
    near = get_close_matches(step.pattern, [str(scope) for scope in Scope], 1)
    return f"{source}: {path}: '{step.pattern}' matches no scope" + (f"; did you mean '{near[0]}'?" if near else "")
