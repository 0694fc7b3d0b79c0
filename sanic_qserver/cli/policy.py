"""`sanic-qserver explain`: what the policies decide, and which line made it."""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from sanic_qserver.api.endpoint import Endpoint, Stream
from sanic_qserver.api.table import ENDPOINTS, STREAMS
from sanic_qserver.cli.options import ConfigFile
from sanic_qserver.config.settings import load
from sanic_qserver.errors import ConfigError
from sanic_qserver.policy.access.permissions import Permissions
from sanic_qserver.policy.access.roles import BUILT_IN
from sanic_qserver.policy.access.windows import Clock
from sanic_qserver.policy.explain import explain as explained, explain_limits
from sanic_qserver.policy.files.documents import Document
from sanic_qserver.policy.policies import Policies
from sanic_qserver.policy.protocols import Attempt
from sanic_qserver.policy.rates.limiter import RateLimits
from sanic_qserver.scopes import Scope, listed
from sanic_qserver.structs.identity import PUBLIC, SINGLE_USER, Access, Principal


def explain(  # noqa: PLR0913, PLR0917  # each is an option
    verb: Annotated[str, typer.Argument(help="GET, POST, DELETE, or WS for a websocket.")],
    path: Annotated[str, typer.Argument(help="As in the documentation: /api/queue/get")],
    user: Annotated[str, typer.Option(help="The login. None: a caller without a credential.")] = "",
    provider: Annotated[str, typer.Option(help="Where the user logged in.")] = "",
    role: Annotated[list[str] | None, typer.Option(help="A role that the provider gives.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="A group of the directory.")] = None,
    claim: Annotated[list[str] | None, typer.Option(help="A claim of the token: name=value")] = None,
    at: Annotated[str, typer.Option(help="The time: 2026-06-01T08:00 (the policy's time zone) or with a zone.")] = "",
    address: Annotated[str, typer.Option(help="Where the request comes from.")] = "",
    single_user: Annotated[bool, typer.Option("--single-user", help="The holder of the server's one API key.")] = False,
    config: ConfigFile = None,
) -> None:
    """Say whether somebody may do something, and why.

    Ends with 0 for yes, 1 for no, 2 for a mistake.
    """
    row = _row(verb.upper(), "/" + path.removeprefix("/api").strip("/"))
    policies = Policies(load(config), [])
    permissions = getattr(policies.access, "permissions", None)
    if not isinstance(permissions, Permissions):
        raise ConfigError(f"{type(policies.access).__name__}: only policies from files can be explained")
    principal = _principal(user, provider, role or [], group or [], claim or [], is_single_user=single_user)
    zone = ZoneInfo(permissions.file.time_zone)
    clock = _clock(at, zone)
    explanation = explained(permissions, principal, row.scope, row.any_scope, clock)
    print(f"{verb.upper()} /api{row.path} asks for {row.scope or 'nothing: it is public'}")
    for line in explanation.lines:
        print(line)
    if explanation.access is not None:
        for line in _holdings(explanation.access, row, policies, address, zone):
            print(line)
    raise typer.Exit(0 if explanation.is_allowed else 1)


def _row(verb: str, path: str) -> Endpoint | Stream:
    for row in ENDPOINTS:
        if any(verb == v and _is_path(p, path) for v, p in ((row.verb, row.path), *row.aliases)):
            return row
    for stream in STREAMS:
        if verb in ("GET", "WS") and _is_path(stream.path, path):
            return stream
    raise ConfigError(f"{verb} {path}: there is no such endpoint; 'sanic-qserver routes' lists them")


def _is_path(pattern: str, path: str) -> bool:
    return re.fullmatch(re.sub(r"<[^>]*>", "[^/]+", pattern.rstrip("/") or "/"), path.rstrip("/") or "/") is not None


def _principal(
    user: str, provider: str, roles: list[str], groups: list[str], claims: list[str], *, is_single_user: bool
) -> Principal:
    if is_single_user:
        return SINGLE_USER
    if not (user or roles or groups or claims):
        return PUBLIC
    return Principal(
        name=user or "somebody",
        provider=provider,
        roles=tuple(roles),
        groups=tuple(groups),
        claims=_nested(claims),
    )


def _nested(claims: list[str]) -> dict[str, object]:
    """`a.b=c` as a token has it."""
    result: dict[str, object] = {}
    for text in claims:
        name, _, value = text.partition("=")
        *above, last = name.split(".")
        inner = result
        for step in above:
            following = inner.setdefault(step, {})
            if not isinstance(following, dict):
                raise ConfigError(f"--claim {text}: '{step}' has a value already")
            inner = following
        inner[last] = value
    return result


def _clock(at: str, zone: ZoneInfo) -> Clock:
    if not at:
        return Clock()
    try:
        said = datetime.fromisoformat(at)
    except ValueError:
        raise ConfigError(f"--at {at}: write a time like 2026-06-01T08:00") from None
    now = (said if said.tzinfo else said.replace(tzinfo=zone)).timestamp()
    return Clock(lambda: now, lambda: 0.0)


def _holdings(
    access: Access, row: Endpoint | Stream, policies: Policies, address: str, zone: ZoneInfo
) -> Iterator[str]:
    yield f"Scopes: {', '.join(listed(access.scopes)) or 'none'}"
    yield f"Submits as: {access.user}, user group {access.user_group}"
    if access.expires_at is not None:
        yield f"Until: {datetime.fromtimestamp(access.expires_at, zone).isoformat(timespec='minutes')} ({zone.key})"
    quota = {"items in the queue": access.quota.queue_items, "items in a batch": access.quota.batch_items}
    stated = [f"{count} {what}" for what, count in quota.items() if count is not None]
    yield f"Quota: {', '.join(stated) or 'none'}"
    if not isinstance(policies.rates, RateLimits):
        return
    attempt = Attempt(access=access, path=row.path, scope=row.scope, address=address, is_stream=isinstance(row, Stream))
    rules = list(explain_limits(policies.rates.rules, attempt))
    yield "Limits:" if rules else "Limits: none"
    yield from (f"  {rule}" for rule in rules)


def matrix() -> None:
    """Print which built-in role may call what.

    It is the table at the end of docs/policies.md, in Markdown.
    """
    print("\n".join(matrix_lines()))


def matrix_lines() -> Iterator[str]:
    """The table in Markdown. `own`: on one's own items only."""
    permissions = Permissions(Document(source="built in", text="", values={}))
    roles = list(BUILT_IN)
    yield f"| Endpoint | Scope | {' | '.join(roles)} |"
    yield "|---|---|" + ":-:|" * len(roles)
    rows: tuple[Endpoint | Stream, ...] = (*ENDPOINTS, *STREAMS)
    for row in rows:
        verb = row.verb if isinstance(row, Endpoint) else ("WS" if row.is_websocket else "GET")
        cells = " | ".join(_cell(permissions.scopes[role], row) for role in roles)
        path = row.path.replace("|", "\\|")
        yield f"| {verb} `/api{path}` | {f'`{row.scope}`' if row.scope else 'public'} | {cells} |"


def _cell(scopes: frozenset[Scope], row: Endpoint | Stream) -> str:
    if row.scope is None or row.scope in scopes:
        return "✓"
    return "own" if not scopes.isdisjoint(row.any_scope) else ""


COMMANDS = (explain, matrix)
