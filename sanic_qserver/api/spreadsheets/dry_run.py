"""Items against the plans that a user group may use, without RE Manager: names and parameters, not types.

RE Manager has no call that validates without adding; it has the last word when the items are added.
"""

from collections.abc import Mapping
from typing import Any

Item = Mapping[str, Any]
VAR_POSITIONAL, VAR_KEYWORD = "VAR_POSITIONAL", "VAR_KEYWORD"


def mistake_of(item: Item, allowed: Mapping[str, Any]) -> str:
    """What RE Manager will refuse about an item, or nothing. `allowed` is `plans_allowed` of its reply."""
    if item.get("item_type", "plan") != "plan":
        return ""
    plan = allowed.get(str(item.get("name")))
    if plan is None:
        return f"plan '{item.get('name')}' is not in the list of allowed plans"
    args, kwargs = item.get("args") or [], item.get("kwargs") or {}
    parameters = plan.get("parameters", [])
    positional = [one["name"] for one in parameters if _kind(one) in ("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD")]
    kinds = {_kind(one) for one in parameters}
    if len(args) > len(positional) and VAR_POSITIONAL not in kinds:
        return f"plan '{item['name']}' takes {len(positional)} args, not {len(args)}"
    return _about_names(item, parameters, positional[: len(args)], kwargs, accepts_any=VAR_KEYWORD in kinds)


def _about_names(
    item: Item, parameters: list[Any], given: list[str], kwargs: Mapping[str, Any], *, accepts_any: bool
) -> str:
    known = {one["name"] for one in parameters if _kind(one) not in (VAR_POSITIONAL, VAR_KEYWORD)}
    unknown = sorted(set(kwargs) - known)
    if unknown and not accepts_any:
        return f"plan '{item['name']}' has no parameters {', '.join(unknown)}"
    twice = sorted(set(kwargs) & set(given))
    if twice:
        return f"plan '{item['name']}' gets {', '.join(twice)} both as arg and as kwarg"
    needed = [
        one["name"] for one in parameters if "default" not in one and _kind(one) not in (VAR_POSITIONAL, VAR_KEYWORD)
    ]
    missing = [name for name in needed if name not in given and name not in kwargs]
    return f"plan '{item['name']}' needs {', '.join(missing)}" if missing else ""


def _kind(parameter: Mapping[str, Any]) -> str:
    kind = parameter.get("kind", {})
    return str(kind.get("name", "") if isinstance(kind, Mapping) else kind)
