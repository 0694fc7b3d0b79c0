"""Why somebody may do something, or may not: the decision, and the lines that made it."""

from collections.abc import Iterator

from msgspec import Struct

from sanic_qserver.errors import NotAuthenticated
from sanic_qserver.policy.access.permissions import Permissions
from sanic_qserver.policy.access.roles import Step, list_steps, matching
from sanic_qserver.policy.access.windows import ALWAYS, Clock, told
from sanic_qserver.policy.protocols import Attempt
from sanic_qserver.policy.rates.limiter import RateRules
from sanic_qserver.policy.rates.rules import describe_rule
from sanic_qserver.scopes import Scope
from sanic_qserver.structs.identity import Access, Principal


class Explanation(Struct, frozen=True):
    """The decision, and lines for people. `access` is None for one who may not enter at all."""

    is_allowed: bool
    access: Access | None
    lines: tuple[str, ...]


def explain(
    permissions: Permissions, principal: Principal, scope: Scope | None, any_scope: tuple[Scope, ...], clock: Clock
) -> Explanation:
    """Whether the principal holds the scope, or one of `any_scope`, and why."""
    try:
        access = permissions.access_of(principal, clock)
    except NotAuthenticated as error:
        return Explanation(
            is_allowed=False, access=None, lines=(f"DENIED: {error.detail}", *_entries(permissions, principal))
        )
    lines = [f"Roles: {', '.join(access.roles)}", *(f"  {line}" for line in _grants(permissions, principal, clock))]
    if scope is None:
        return Explanation(is_allowed=True, access=access, lines=(*lines, "ALLOWED: public"))
    wanted = [one for one in (scope, *any_scope) if one in access.scopes]
    for one in wanted:
        lines.append(f"ALLOWED by {one}")
        lines += [f"  {line}" for role in access.roles for line in _why(permissions, role, one)]
        if one != scope:
            lines.append(f"  on one's own items only; {scope} is missing")
        break
    else:
        lines.append(f"DENIED: {scope} is missing")
        lines += [f"  {line}" for role in access.roles for line in _why(permissions, role, scope, of_refusal=True)]
        if principal.key_scopes is not None and scope not in principal.key_scopes:
            lines.append("  the credential is limited to other scopes")
    return Explanation(is_allowed=bool(wanted), access=access, lines=tuple(lines))


def explain_limits(rules: RateRules, attempt: Attempt) -> Iterator[str]:
    """The rules that count such a request, with their lines."""
    for part, found in (("rates", rules.matching(attempt)), ("concurrency", rules.concurrency.matching(attempt))):
        every = list(getattr(rules.file, part))
        for rule in found:
            yield f"{rule.name}: {describe_rule(rule)} ({rules.document.place((part, every.index(rule)))})"


def trace(permissions: Permissions, role: str, scope: Scope) -> tuple[bool, list[Step]]:
    """Whether a role holds a scope, and the steps that decided it: the last that spoke of it, and what it led to."""
    is_held, decisive = False, list[Step]()
    for step in list_steps(role, permissions.file.roles, permissions.built_in):
        if step.does == "inherits":
            if scope in permissions.scopes[step.pattern]:
                is_held, decisive = True, [step, *trace(permissions, step.pattern, scope)[1]]
        elif scope in matching(step.pattern):
            is_held, decisive = step.does != "removes", [step]
    return is_held, decisive


def _why(permissions: Permissions, role: str, scope: Scope, *, of_refusal: bool = False) -> Iterator[str]:
    is_held, steps = trace(permissions, role, scope)
    if is_held == of_refusal:
        return
    for step in steps:
        place = permissions.document.place(step.path) if step.path else "built in"
        yield f"role {step.role} {step.does} {step.pattern} ({place})"
    if not steps:
        yield f"role {role} does not grant it"


def _grants(permissions: Permissions, principal: Principal, clock: Clock) -> Iterator[str]:
    for one in permissions.find_grants(principal, clock):
        path = ".".join(map(str, one.path))
        yield f"{', '.join(one.roles) or 'no role'} from {path} ({_place(permissions, one.path)})"


def _entries(permissions: Permissions, principal: Principal) -> Iterator[str]:
    if (entry := permissions.find_entry(principal)) is not None:
        yield f"  {'.'.join(map(str, entry.path))} ({_place(permissions, entry.path)})"
        if entry.window is not ALWAYS:
            yield f"  {told(entry.window, entry.grant.time_zone or permissions.file.time_zone)}"
    elif principal.name in permissions.file.users:
        path = ("users", principal.name)
        yield f"  users.{principal.name} ({_place(permissions, path)})"
    else:
        yield f"  nothing in {permissions.document.source} gives '{principal.name}' a role"


def _place(permissions: Permissions, path: tuple[str | int, ...]) -> str:
    return permissions.document.place(path)
