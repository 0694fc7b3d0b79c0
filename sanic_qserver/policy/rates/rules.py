"""The format of `policies/rate_limits.yaml`: rules, the requests they match, and what they allow."""

import math
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, Any, Literal

import limits
import msgspec
from msgspec import Meta, Struct, field

from sanic_qserver.errors import ConfigError
from sanic_qserver.policy.access.roles import Words, words
from sanic_qserver.policy.files.documents import Document
from sanic_qserver.policy.protocols import Attempt
from sanic_qserver.structs.identity import PUBLIC, Principal

By = Literal["principal", "api_key", "address", "everybody"]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=60)]
Count = Annotated[int, Meta(ge=1)]
Network = IPv4Network | IPv6Network


class Exempt(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom rules exempt. `services`: service accounts."""

    roles: Words = ()
    users: Words = ()
    addresses: Words = ()
    services: bool = False


class Rule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom and what a rule matches, and under whom it counts. A condition that is left out matches everything.

    `scopes` and `endpoints` are patterns; endpoints are paths as in the documentation, without `/api`.
    """

    name: Name
    by: By = "principal"
    roles: Words = ()
    users: Words = ()
    scopes: Words = ()
    endpoints: Words = ()
    addresses: Words = ()
    anonymous: bool | None = None
    exempt: Exempt = field(default=Exempt(), name="except")


class RateRule(Rule, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rate limit. `limits`: `20/second; 600/minute`. `cost: items` charges the items of a batch, not its requests.

    `burst` admits so many at once at the same mean rate: the window grows with it.
    """

    limits: str
    cost: Literal["requests", "items"] = "requests"
    burst: Count | None = None


class ConcurrencyRule(Rule, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A concurrency limit: open streams and websockets, or requests in flight."""

    most: Count
    of: Literal["streams", "requests"]


class RateFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    rates: tuple[RateRule, ...] = ()
    concurrency: tuple[ConcurrencyRule, ...] = ()
    exempt: Exempt = Exempt()


class Limit(Struct, frozen=True):
    """`amount` units in `window_s` seconds, under the name that response headers carry."""

    name: str
    amount: int
    window_s: float


def parse_rate_file(document: Document) -> RateFile:
    """The document as structs. Raises ConfigError, naming the line and the rule."""
    try:
        return msgspec.convert(document.values, RateFile)
    except msgspec.ValidationError as error:
        found = re.search(r"\$\.(rates|concurrency)\[(\d+)\]", str(error))
        path = (found[1], int(found[2])) if found else ()
        raise ConfigError(f"{document.place(path)}: {error}") from None


def parse_limits(rule: RateRule, where: str) -> tuple[Limit, ...]:
    """The limits of a rule's text. Raises ConfigError, naming `where`."""
    try:
        items = limits.parse_many(rule.limits)
    except ValueError:
        raise ConfigError(f"{where}: limits: '{rule.limits}' is not like '20/second; 600/minute'") from None
    result = []
    for item in items:
        amount, window_s = item.amount, float(item.get_expiry())
        if amount < 1:
            raise ConfigError(f"{where}: limits: '{rule.limits}' admits nothing; take the scope away instead")
        if rule.burst is not None and rule.burst > amount:
            # Rounded up: the mean rate never exceeds the configured one.
            amount, window_s = rule.burst, float(math.ceil(window_s * rule.burst / amount))
        name = rule.name if len(items) == 1 else f"{rule.name}-{window_s:g}s"
        result.append(Limit(name, amount, window_s))
    return tuple(result)


class Matcher:
    """A rule's conditions, compiled."""

    def __init__(self, rule: Rule, overall: Exempt, where: str) -> None:
        """Raises ConfigError for an invalid address."""
        self._rule = rule
        self._roles, self._users = frozenset(words(rule.roles)), frozenset(words(rule.users))
        self._scopes, self._endpoints = words(rule.scopes), words(rule.endpoints)
        self._networks = parse_networks(rule.addresses, f"{where}: addresses")
        both = (rule.exempt, overall)
        self._exempt_roles = frozenset(name for one in both for name in words(one.roles))
        self._exempt_users = frozenset(name for one in both for name in words(one.users))
        self._exempt_networks = [n for one in both for n in parse_networks(one.addresses, f"{where}: except")]
        self._spares_services = any(one.services for one in both)

    @property
    def asks_address(self) -> bool:
        """Whether the answer depends on where a request comes from."""
        return bool(self._networks or self._exempt_networks)

    @property
    def names(self) -> frozenset[str]:
        """The users that the rule names. For others the result depends on their roles only."""
        return self._users | self._exempt_users

    def matches(self, attempt: Attempt) -> bool:
        """Whether the rule applies to an attempt."""
        access, rule = attempt.access, self._rule
        principal = access.principal
        if self._exempt_roles.intersection(access.roles) or principal.name in self._exempt_users:
            return False
        if (self._spares_services and principal.is_service) or _is_in(attempt.address, self._exempt_networks):
            return False
        return (
            (rule.anonymous is None or rule.anonymous == is_anonymous(principal))
            and (not self._roles or not self._roles.isdisjoint(access.roles))
            and (not self._users or principal.name in self._users)
            and (not self._scopes or any(fnmatchcase(str(attempt.scope or ""), one) for one in self._scopes))
            and (not self._endpoints or any(fnmatchcase(attempt.path, one) for one in self._endpoints))
            and (not self._networks or _is_in(attempt.address, self._networks))
        )


def subject(by: By, attempt: Attempt) -> str:
    """The key under which an attempt counts. Anonymous callers count by address, or all would share one counter."""
    principal = attempt.access.principal
    if by == "everybody":
        return "*"
    if by == "address" or is_anonymous(principal):
        return f"address:{attempt.address or 'local'}"
    if by == "api_key" and principal.key_id:
        return f"key:{principal.key_id}"
    return f"{principal.provider}:{principal.name}"


def is_anonymous(principal: Principal) -> bool:
    """Whether the caller sent no credential."""
    return principal.provider == PUBLIC.provider and principal.name == PUBLIC.name


def parse_networks(addresses: Words, where: str) -> list[Network]:
    """The networks of texts like `10.0.0.0/8`. Raises ConfigError."""
    try:
        return [ip_network(address, strict=False) for address in words(addresses)]
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None


def _is_in(address: str, among: list[Network]) -> bool:
    if not among:
        return False
    try:
        known = ip_address(address)
    except ValueError:
        return False
    return any(known in network for network in among)


def describe_rule(rule: Rule) -> str:
    """A rule for people to read: only what is set."""

    def text(value: Any) -> str:
        if isinstance(value, Mapping):
            return " ".join(f"{name} {text(part)}" for name, part in value.items() if part)
        return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)

    said = {name: text(value) for name, value in msgspec.to_builtins(rule).items() if name != "name"}
    return ", ".join(f"{name} {value}" for name, value in said.items() if value not in ("", "None"))
