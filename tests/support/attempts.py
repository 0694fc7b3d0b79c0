"""Attempts of callers, and how many of them rate limits let pass."""

from sanic_qserver.errors import TooManyRequests
from sanic_qserver.policy.protocols import Attempt
from sanic_qserver.policy.rates.limiter import RateLimits
from sanic_qserver.scopes import Scope
from sanic_qserver.structs.identity import PUBLIC, Access, Principal


def attempt(name: str = "jdoe", **changes) -> Attempt:
    principal = (
        PUBLIC
        if name == ""
        else Principal(
            name=name, provider="ldap", key_id=changes.pop("key_id", ""), is_service=changes.pop("is_service", False)
        )
    )
    access = Access(
        principal=principal,
        roles=(changes.pop("role", "user"),),
        scopes=frozenset(Scope),
        user=name,
        user_group="primary",
    )
    given = {"path": "/queue/item/add", "scope": Scope.WRITE_QUEUE_EDIT, "address": "10.0.0.1", **changes}
    return Attempt(access=access, **given)


async def passes(limits: RateLimits, tried: Attempt, times: int = 1) -> int:
    count = 0
    for _ in range(times):
        try:
            await limits.admit(tried)
        except TooManyRequests:
            continue
        count += 1
    return count
