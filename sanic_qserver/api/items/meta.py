"""The `meta` of items: what this server puts first into it. In a list, RE Manager takes the first value of a key."""

from collections.abc import Sequence
from typing import Any

STAMP = "qserver"


def stamp_items(items: Sequence[Any], first: Sequence[dict[str, Any]]) -> list[Any]:
    """The items with these dictionaries first in `meta`. Stamps of an earlier submission of the same item go."""
    return [_stamp(item, first) for item in items]


def read_metas(item: Any) -> list[dict[str, Any]]:
    """The dictionaries of an item's `meta`."""
    meta = item.get("meta") if isinstance(item, dict) else None
    return [one for one in (meta if isinstance(meta, list) else [meta]) if isinstance(one, dict)]


def read_stamp(item: Any) -> dict[str, Any]:
    """What this server stamped into an item's `meta`; empty when it did not."""
    stamp = next((one[STAMP] for one in read_metas(item) if STAMP in one), None)
    return stamp if isinstance(stamp, dict) else {}


def _stamp(item: Any, first: Sequence[dict[str, Any]]) -> Any:
    if not isinstance(item, dict):
        return item
    meta = item.get("meta")
    given = [meta] if isinstance(meta, dict) else meta
    if meta is not None and not isinstance(given, list):
        return item
    rest = [one for one in given or () if one not in first and not (isinstance(one, dict) and set(one) == {STAMP})]
    return {**item, "meta": [*first, *rest]}
