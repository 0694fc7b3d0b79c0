"""The `meta` of items: what this server puts first into it. In a list, RE Manager takes the first value of a key."""

from collections.abc import Sequence
from typing import Any

STAMP = "qserver"


def stamp_items(items: Sequence[Any], first: Sequence[dict[str, Any]]) -> list[Any]:
    """The items with these dictionaries first in `meta`. Stamps of an earlier submission of the same item go."""
    return [_stamp(item, first) for item in items]


def _stamp(item: Any, first: Sequence[dict[str, Any]]) -> Any:
    if not isinstance(item, dict):
        return item
    meta = item.get("meta")
    given = [meta] if isinstance(meta, dict) else meta
    if meta is not None and not isinstance(given, list):
        return item
    rest = [one for one in given or () if one not in first and not (isinstance(one, dict) and set(one) == {STAMP})]
    return {**item, "meta": [*first, *rest]}
