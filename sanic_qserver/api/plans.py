"""The rows of plans: RE Manager's descriptions, or their reduced form for user interfaces."""

import ast
import math
import re
from typing import Any, cast

import msgspec

from sanic_qserver.api.call import Call
from sanic_qserver.manager.bodies import Body
from sanic_qserver.manager.replies import decode_reply
from sanic_qserver.structs.requests import PlansAllowed, PlansExisting

_LIST = re.compile(r"^(typing\.)?list\[.+\]$")


async def plans(call: Call) -> bytes | Body:
    """Allowed or existing plans; with `reduced` in the simpler form of `reduced_plan`."""
    params = cast("PlansAllowed | PlansExisting", call.params)
    sent = msgspec.structs.replace(params, reduced=msgspec.UNSET, reload=msgspec.UNSET)
    if call.unknown:
        return await call.ask(sent)
    method = call.endpoint.method
    body = await call.services.reads.read(method, sent, fairness_key=call.fairness_key)
    if params.reduced is not True:
        return body
    return body.made("reduced", lambda: Body(_reduced(body.json, method), body.uid, ("reduced " + body.tag, b"")))


def _reduced(reply: bytes, key: str) -> bytes:
    decoded = decode_reply(reply)
    decoded[key] = {name: reduced_plan(plan) for name, plan in decoded.get(key, {}).items()}
    return msgspec.json.encode(decoded)


def reduced_plan(plan: dict[str, Any]) -> dict[str, Any]:
    """A plan with `name`, `description` and simple `parameters`, as the reference server gives it.

    Each parameter has `name`, `kind`, `is_optional` and, where known, `description`, `type` ("int", "float",
    "str"), `enum` (then the type is "str"), `is_list`, `default`, `min`, `max`, `step`.
    """
    reduced: dict[str, Any] = {key: plan[key] for key in ("name", "description") if key in plan}
    if parameters := plan.get("parameters"):
        reduced["parameters"] = [_reduced_parameter(parameter) for parameter in parameters]
    return reduced


def _reduced_parameter(parameter: dict[str, Any]) -> dict[str, Any]:
    reduced: dict[str, Any] = {key: parameter[key] for key in ("name", "kind", "description") if key in parameter}
    reduced |= _name_type(parameter.get("annotation") or {})
    default = _literal(parameter.get("default"))
    reduced["is_optional"] = default is not msgspec.UNSET
    if reduced["is_optional"]:
        reduced["default"] = default
    for key in ("min", "max", "step"):
        if (number := _number(parameter.get(key))) is not None:
            reduced[key] = number
    return reduced


def _name_type(annotation: dict[str, Any]) -> dict[str, Any]:
    kind = annotation.get("type", "").lower()
    found: dict[str, Any] = {}
    groups = [annotation.get(group) or {} for group in ("devices", "plans", "enums")]
    choices = [choice for group in groups for values in group.values() for choice in _as_list(values)]
    if choices:
        found |= {"type": "str", "enum": choices}
    elif name := next((name for name in ("float", "int", "str") if re.search(rf"\b{name}\b", kind)), None):
        found["type"] = name
    if kind:
        found["is_list"] = bool(_LIST.match(kind))
    return found


def _as_list(values: Any) -> list[Any]:
    return list(values) if isinstance(values, (list, tuple)) else [values]


def _literal(text: Any) -> Any:
    """The value of a Python literal; UNSET for none, or for what is not a literal."""
    try:
        return ast.literal_eval(text) if isinstance(text, str) else msgspec.UNSET
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return msgspec.UNSET


def _number(text: Any) -> int | float | None:
    """The number that a string holds: an int where it is one. None for anything else."""
    try:
        value = float(text) if isinstance(text, str) else math.nan
    except ValueError:
        return None
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() else value
