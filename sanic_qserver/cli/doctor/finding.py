"""What a check finds: whether it is well, what was seen, and what to do about it."""

from collections.abc import AsyncIterator, Callable
from typing import Literal

from msgspec import Struct

State = Literal["ok", "warning", "failed"]
Findings = AsyncIterator["Finding"]
Clock = Callable[[], float]
CLOCK_S = 5.0
"""Clocks may differ by so many seconds."""


class Finding(Struct, frozen=True):
    """One thing that was looked at. `do` is empty where all is well."""

    what: str
    state: State
    said: str
    do: str = ""


def ok(what: str, said: str) -> Finding:
    """All is well."""
    return Finding(what, "ok", said)


def warning(what: str, said: str, do: str) -> Finding:
    """It works, and will not always."""
    return Finding(what, "warning", said, do)


def failed(what: str, said: str, do: str) -> Finding:
    """It does not work."""
    return Finding(what, "failed", said, do)


def compare_clocks(what: str, theirs: float, ours: float) -> Finding:
    """Whether two clocks agree: POSIX times, read at the same moment."""
    difference = theirs - ours
    if abs(difference) <= CLOCK_S:
        return ok(f"clock of {what}", f"agrees within {CLOCK_S:g} s")
    way = "ahead of" if difference > 0 else "behind"
    return warning(
        f"clock of {what}",
        f"{abs(difference):.0f} s {way} this machine",
        "let both machines follow NTP (timedatectl set-ntp true): tokens, limits and leases depend on the time",
    )
