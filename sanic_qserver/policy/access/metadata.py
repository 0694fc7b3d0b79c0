"""Metadata that a site stamps on every item of somebody: `metadata:` of users, roles, groups, claims and `default`.

The rules:
1. All that apply are put together, key by key; the more personal entry wins: user, claim, group, role, default.
2. Text may take a claim of the token: `{claim:proposal}`, with a dotted path for nested claims. Alone it keeps the
   claim's type; inside other text it is written out. A key whose claim the token lacks is left out.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

_CLAIM = re.compile(r"\{claim:([^{}]+)\}")
_MISSING = object()


def merge_metadata(entries: Iterable[Mapping[str, Any]], claims: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of somebody with these claims; `entries` from the most personal to the most general."""
    merged: dict[str, Any] = {}
    for entry in entries:
        for key, value in entry.items():
            merged.setdefault(key, value)
    filled = {key: _fill(value, claims) for key, value in merged.items()}
    return {key: value for key, value in filled.items() if value is not _MISSING}


def _fill(value: Any, claims: Mapping[str, Any]) -> Any:
    """The value with its claims; `_MISSING` when one of them is not there."""
    if isinstance(value, Mapping):
        members = {key: _fill(member, claims) for key, member in value.items()}
        return {key: member for key, member in members.items() if member is not _MISSING}
    if isinstance(value, (list, tuple)):
        return [member for member in (_fill(one, claims) for one in value) if member is not _MISSING]
    if not isinstance(value, str):
        return value
    if (whole := _CLAIM.fullmatch(value)) is not None:
        return find_claim(claims, whole[1])
    found = [find_claim(claims, path) for path in _CLAIM.findall(value)]
    return _MISSING if _MISSING in found else _CLAIM.sub(lambda match: str(find_claim(claims, match[1])), value)


def find_claim(claims: Mapping[str, Any], path: str) -> Any:
    """The claim at a dotted path; a name with dots in it is found as it stands."""
    value: Any = claims
    if path in claims:
        return claims[path]
    for step in path.split("."):
        value = value.get(step, _MISSING) if isinstance(value, Mapping) else _MISSING
    return value
