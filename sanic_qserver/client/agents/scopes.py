"""Which scopes the tools need, and what is said of a key that holds more."""

from collections.abc import Iterable

from sanic_qserver.client.failures import NotPermitted

READS = ("read:status", "read:queue", "read:history", "read:resources", "read:console")
SUBMITS = ("write:queue:edit:own", "write:proposals")
STOPS = ("write:plan:control",)
STARTS = ("write:queue:control", "write:manager:control", "write:execute")
"""For tools that are there with `--allow-start` only."""


def check_scopes(scopes: Iterable[str], *, allow_start: bool) -> None:
    """Raise NotPermitted for a key that holds more than the tools need, or cannot even read the status."""
    needed = {*READS, *SUBMITS, *STOPS, *(STARTS if allow_start else ())}
    held = set(scopes)
    if "read:status" not in held:
        raise NotPermitted("The key may not read the status", "Make one with read:status and what the agent needs.")
    if more := sorted(held - needed):
        wanted = " ".join(f"--scope {scope}" for scope in sorted(held & needed))
        raise NotPermitted(
            f"The key holds more than an agent's tools need: {', '.join(more)}",
            f"Make a smaller one: qsctl apikey create {wanted}; or insist with --scopes-ok.",
            too_many=more,
        )
