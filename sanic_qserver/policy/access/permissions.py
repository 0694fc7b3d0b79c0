"""Who may do what: a permissions file worked out, so that a decision is a few look-ups.

The rules:
1. Roles come from the user's entry, from the provider, from directory groups and from token claims, all together.
   Who has none of these gets the roles under `default`; who has no role at all may not enter.
2. A user whose window is shut, or who is listed with nothing (`bob: null`), may not enter, whatever else applies,
   and however the login is spelled.
   A group or claim whose window is shut does not apply. `UNAUTHENTICATED_SINGLE_USER: null` holds too.
3. The user group is that of the user's entry, else of a claim, else of a group, else of the first role that
   names one, else the default.
4. A quota of the user's entry wins; else the largest among claims, groups and roles; else the default.
5. A credential that is limited to some scopes (an API key) holds those of them that its owner holds.
"""

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import quote

from msgspec import Struct, structs

from sanic_qserver.errors import ConfigError, NotAuthenticated
from sanic_qserver.policy.access.metadata import find_claim, merge_metadata
from sanic_qserver.policy.access.permissions_file import ClaimGrant, Grant, PermissionsFile, User, permissions_file
from sanic_qserver.policy.access.roles import (
    BUILT_IN,
    PUBLIC_ROLE,
    SINGLE_USER_ROLE,
    scopes_by_role,
    stated,
    unknown_scopes_by_role,
    words,
)
from sanic_qserver.policy.access.windows import ALWAYS, Clock, Window, window
from sanic_qserver.policy.files.documents import Document
from sanic_qserver.scopes import COVERED_BY_EDIT, Scope
from sanic_qserver.structs.canonical import folded
from sanic_qserver.structs.identity import PUBLIC, SINGLE_USER, Access, Principal, Quota
from sanic_qserver.texts import Text

_ROLE_OF = {SINGLE_USER.name: SINGLE_USER_ROLE, PUBLIC.name: PUBLIC_ROLE}
_PLAIN = re.compile(r'[^"<>%\x00-\x1f]*').fullmatch
NOT_AUTHORIZED = str(Text.NOT_AUTHORIZED)


class Applied(Struct, frozen=True):
    """A grant that applies to somebody, and where it is written."""

    grant: Grant
    path: tuple[str | int, ...]
    window: Window
    roles: tuple[str, ...]


class Permissions:
    """A permissions file worked out. Immutable: a change makes a new one.

    Raises ConfigError for anything that does not fit together.
    """

    def __init__(
        self,
        document: Document,
        built_in: Mapping[str, tuple[str, ...]] = BUILT_IN,
        folding: frozenset[str] = frozenset(),
    ) -> None:
        """`folding`: providers for which all spellings of a login are one person."""
        self._folding = folding
        self.built_in = built_in
        self.document = document
        self.file = permissions_file(document)
        self.scopes = scopes_by_role(self.file.roles, document.source, built_in)
        self.unknown_scopes = unknown_scopes_by_role(self.file.roles)
        every = self.file.roles
        self._stated = {name: (stated(name, "user_group", every), stated(name, "quota", every)) for name in every}
        self._default_roles = self._known_roles(words(self.file.default.roles), ("default",))
        self._set_users(self.file.users)
        self._groups = {name: self._applied(grant, ("groups", name)) for name, grant in self.file.groups.items()}
        self._claims = [self._applied(grant, ("claims", n)) for n, grant in enumerate(self.file.claims)]

    @property
    def default_user_group(self) -> str:
        """RE Manager's user group of those for whom nothing else is said."""
        return self.file.default.user_group or self.file.user_group

    @property
    def is_open(self) -> bool:
        """Whether anybody may change something without a credential, or the file says that it is not for networks."""
        return self.file.only_on_loopback or any(
            scope.startswith(("write:", "admin:")) for scope in self.scopes[PUBLIC_ROLE]
        )

    def access_of(self, principal: Principal, clock: Clock) -> Access:
        """What the principal may do now. Raises NotAuthenticated for one who may not enter."""
        if principal.provider == PUBLIC.provider and principal.name in _ROLE_OF:
            applied: tuple[Applied, ...] = ()
            roles = self._built_in_roles(principal)
        else:
            applied = tuple(self.find_grants(principal, clock))
            roles = self._collect_roles(principal, applied)
            if not roles:
                raise NotAuthenticated(NOT_AUTHORIZED)
        entry = self.find_entry(principal)
        ends = [one.window.closes_at for one in applied if one.window is not ALWAYS]
        ends += [principal.expires_at] if principal.expires_at is not None else []
        expires_at = min(ends, default=None)
        return Access(
            principal=principal,
            roles=roles,
            scopes=limited(self._collect_scopes(roles), principal),
            user=displayed_name(principal, entry.grant if entry else None),
            user_group=self._user_group(roles, applied),
            quota=self._quota(roles, applied),
            review=self._review(roles),
            metadata=self._metadata(principal, roles, applied),
            expires_at=None if expires_at == float("inf") else expires_at,
        )

    def _built_in_roles(self, principal: Principal) -> tuple[str, ...]:
        """The role of the single user or the public. Shut out, the public holds nothing, but may still log in."""
        if principal.name not in self.shut_out:
            return (_ROLE_OF[principal.name],)
        if principal.name == PUBLIC.name:
            return ()
        raise NotAuthenticated(NOT_AUTHORIZED)

    def find_grants(self, principal: Principal, clock: Clock) -> Iterator[Applied]:
        """The grants that apply now, the most personal first. Raises NotAuthenticated when the user is shut out."""
        if folded(principal.name) in self._shut_out:
            raise NotAuthenticated(NOT_AUTHORIZED)
        if (own := self.find_entry(principal)) is not None:
            if not own.window.is_open(clock):
                raise NotAuthenticated(f"{NOT_AUTHORIZED} at this time")
            yield own
        for claimed in self._claims:
            if claimed.window.is_open(clock) and _claims(principal.claims, claimed.grant):
                yield claimed
        for name in principal.groups:
            group = self._groups.get(name)
            if group is not None and group.window.is_open(clock):
                yield group

    def find_entry(self, principal: Principal) -> Applied | None:
        """The principal's entry under `users`, unless it is meant for another provider's login of that name."""
        entry = self._users.get(principal.name)
        if entry is None and principal.provider in self._folding:
            entry = self._users_folded.get(folded(principal.name))
        if entry is None or not isinstance(entry.grant, User):
            return None
        return None if entry.grant.provider not in ("", principal.provider) else entry

    def _collect_roles(self, principal: Principal, applied: tuple[Applied, ...]) -> tuple[str, ...]:
        known = [role for role in principal.roles if role in self.scopes]
        granted = [role for one in applied for role in one.roles]
        return tuple(dict.fromkeys([*granted, *known])) or self._default_roles

    def _collect_scopes(self, roles: tuple[str, ...]) -> frozenset[str]:
        return frozenset[str]().union(
            *(self.scopes.get(role, ()) for role in roles), *(self.unknown_scopes.get(role, ()) for role in roles)
        )

    def _user_group(self, roles: tuple[str, ...], applied: tuple[Applied, ...]) -> str:
        granted = (one.grant.user_group for one in applied)
        by_role = (self._stated[name][0] for name in roles if name in self._stated)
        return next((group for group in (*granted, *by_role) if group), self.default_user_group)

    def _quota(self, roles: tuple[str, ...], applied: tuple[Applied, ...]) -> Quota:
        personal = [one.grant.quota for one in applied if one.path[0] == "users" and one.grant.quota]
        granted = [one.grant.quota for one in applied if one.grant.quota]
        by_role = [quota for name in roles if name in self._stated and (quota := self._stated[name][1])]
        if said := personal or [*granted, *by_role]:
            return Quota(
                queue_items=_largest([quota.queue_items for quota in said]),
                batch_items=_largest([quota.batch_items for quota in said]),
            )
        return self.file.default.quota or Quota()

    def _metadata(self, principal: Principal, roles: tuple[str, ...], applied: tuple[Applied, ...]) -> dict[str, Any]:
        by_role = [self.file.roles[name] for name in self._with_inherited(roles)]
        entries = [*(one.grant.metadata for one in applied), *(role.metadata for role in by_role if role is not None)]
        return merge_metadata((*entries, self.file.default.metadata), principal.claims)

    def _review(self, roles: tuple[str, ...]) -> str:
        """How submissions are reviewed: not at all when one of the roles that may submit says nothing of it."""
        submits = {Scope.WRITE_QUEUE_EDIT, Scope.WRITE_QUEUE_EDIT_OWN}
        said = [
            stated(name, "review", self.file.roles) for name in roles if self.scopes.get(name, frozenset()) & submits
        ]
        if not said or any(one in (None, "", "none") for one in said):
            return ""
        return "automatic" if "automatic" in said else "required"

    def _with_inherited(self, roles: tuple[str, ...]) -> Iterator[str]:
        """The roles that the file describes, each before those that it inherits."""
        for name in roles:
            if (role := self.file.roles.get(name)) is not None:
                yield name
                yield from self._with_inherited(words(role.inherits))

    def _applied(self, grant: Grant, path: tuple[str | int, ...]) -> Applied:
        where = f"{self.document.source}: {'.'.join(map(str, path))}"
        zone = grant.time_zone or self.file.time_zone
        opened = window(grant.begin, grant.until, zone, where)
        if isinstance(grant, ClaimGrant) and not words(grant.matches):
            raise ConfigError(f"{where}.matches: say what the claim must match")
        return Applied(grant, path, opened, self._known_roles(words(grant.roles), path))

    def _known_roles(self, roles: tuple[str, ...], path: tuple[str | int, ...]) -> tuple[str, ...]:
        for role in roles:
            if role not in self.scopes:
                place = self.document.place((*path, "roles"))
                raise ConfigError(f"{place}: {'.'.join(map(str, path))}.roles: there is no role '{role}'")
        return roles

    def describe_added_grants(self, old: "Permissions") -> str:
        """What somebody may do here and might not under `old`; empty when nobody gets more."""
        for role, scopes in self.scopes.items():
            if more := scopes - old.scopes.get(role, frozenset()):
                return f"role '{role}' gets {', '.join(sorted(more))}"
        if freed := old.shut_out - self.shut_out:
            return f"'{min(freed)}' is no longer shut out"
        return _describe_added_grants(self.file, old.file)

    def _set_users(self, users: Mapping[str, User | None]) -> None:
        self.shut_out = frozenset(name for name, user in users.items() if user is None)
        self._shut_out = frozenset(map(folded, self.shut_out))
        self._users = {name: self._applied(user, ("users", name)) for name, user in users.items() if user is not None}
        # Where people type their logins, the file may spell them as it likes.
        self._users_folded = {folded(name): user for name, user in reversed(self._users.items())}

    def with_users(self, users: Mapping[str, User | None]) -> "Permissions":
        """The same roles and rules, for other people."""
        changed = object.__new__(Permissions)
        changed.__dict__.update(self.__dict__)
        changed.file = structs.replace(self.file, users=dict(users))
        changed._set_users(users)
        return changed


def limited(scopes: frozenset[str], principal: Principal) -> frozenset[str]:
    """The scopes, less what the credential is limited to. The full right to edit includes what it covers."""
    if principal.key_scopes is None:
        return scopes
    held = scopes
    if Scope.WRITE_QUEUE_EDIT in scopes:
        held = scopes | COVERED_BY_EDIT
    return frozenset(held & principal.key_scopes)


def displayed_name(principal: Principal, entry: Grant | None) -> str:
    """What RE Manager is told as `user`: `jdoe`, `jdoe <email>`, `jdoe "Name"` or `jdoe "Name <email>"`.

    Ownership rests on this text: what separates its parts is escaped in a login, so that nobody can look like another.
    """
    login = principal.name if _PLAIN(principal.name) else quote(principal.name, safe=" @")
    user = entry if isinstance(entry, User) else None
    name = (user.displayed_name if user else None) or principal.displayed_name
    email = (user.email if user else None) or principal.email
    if not name:
        return f"{login} <{email}>" if email else login
    return f'{login} "{name} <{email}>"' if email else f'{login} "{name}"'


def _claims(claims: Mapping[str, Any], grant: Grant) -> bool:
    """Whether the token says what the grant asks for."""
    value = find_claim(claims, grant.claim) if isinstance(grant, ClaimGrant) else None
    values = value if isinstance(value, (list, tuple, set, frozenset)) else [value]
    patterns = words(grant.matches) if isinstance(grant, ClaimGrant) else ()
    return any(isinstance(one, (str, bool, int)) and fnmatchcase(_text(one), p) for one in values for p in patterns)


def _text(value: str | bool | int) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _largest(limits: list[int | None]) -> int | None:
    """The largest of the stated limits: a role that states none lifts none."""
    return max((limit for limit in limits if limit is not None), default=None)


def _describe_added_grants(new: PermissionsFile, old: PermissionsFile) -> str:
    """What is new apart from the scopes of roles; "" for nothing. An entry that differs in any way counts as more."""
    for part in ("users", "groups"):
        before = getattr(old, part)
        for name, grant in getattr(new, part).items():
            if grant is not None and grant != before.get(name):
                return f"{part}.{name} is not the same"
    if any(claim not in old.claims for claim in new.claims):
        return "claims are not the same"
    if _fixed_part(new) != _fixed_part(old):
        return "user groups, quotas or defaults are not the same"
    return ""


def _fixed_part(file: PermissionsFile) -> list[Any]:
    """What must be the same: it may give more when it goes away, a quota for one."""
    roles = {name: (role.quota, role.user_group) for name, role in file.roles.items() if role}
    stated = {name: said for name, said in roles.items() if any(said)}
    return [file.default, file.user_group, file.time_zone, file.only_on_loopback, stated]
