"""A submission rule: a motor may be sent to an allowed range only, in whichever plan and argument.

In `config.toml`:

    [extensions]
    modules = ["motor_range"]
    paths = ["plugins"]
    [extensions.options.motor_range.ranges]
    motor = [-10, 10]
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from sanic_qserver.extension_api import ExtensionHost, Item, Refusal, Submission


class Options(msgspec.Struct, frozen=True):
    """Lowest and highest position by motor."""

    ranges: dict[str, tuple[float, float]]


class Rule:
    """Refuses positions out of range."""

    def __init__(self, options: Options) -> None:
        self.ranges = options.ranges

    async def check(self, item: Item, _: Submission) -> None:
        """Look at every `motor, number[, number]` among the args, and at kwargs named after a motor."""
        args = item.get("args") or []
        named = ((name, value) for name, value in (item.get("kwargs") or {}).items())
        for motor, position in (*_positions(args), *named):
            if motor in self.ranges and _is_number(position):
                low, high = self.ranges[motor]
                if not low <= position <= high:
                    raise Refusal(f"{motor} may go from {low:g} to {high:g}, not to {position:g}")


def _positions(args: list[Any]) -> Iterator[tuple[str, Any]]:
    """The numbers after each motor: `scan([det], motor, -1, 1, 10)` has two, and then the number of points."""
    for place, name in enumerate(args):
        if isinstance(name, str):
            for value in args[place + 1 : place + 3]:
                if not _is_number(value):
                    break
                yield name, value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def register(host: ExtensionHost) -> None:
    """Add the rule."""
    host.before_submit(Rule(host.options_as(Options)).check)
