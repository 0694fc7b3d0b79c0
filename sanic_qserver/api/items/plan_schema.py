"""JSON Schema of a plan's parameters, made from RE Manager's description of the plan.

The rule: a schema never refuses arguments that RE Manager accepts. RE Manager checks arguments in three steps
(`validate_plan` of bluesky-queueserver 0.0.25): pydantic's lax mode, then a comparison of the types that went in and
came out, then the ranges. What follows from these steps and surprises:

- `float` accepts true and false, `bool` accepts 0 and 1 (the comparison knows that a bool is an int). `int` accepts
  neither booleans nor text.
- Values of a dictionary are converted freely ("5" for a float): only its keys are compared. They are left open.
- `Iterable` accepts an object (its keys are iterated), `Sequence` does not.
- The built-in names (`__READABLE__` …) accept any text: a device need not be listed. They are hints, no enums.
- `step` is never checked: it is a hint (`x-qserver-step`) and never `multipleOf`.
- A range holds for every number inside the value.
"""

import ast
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NUMBER: Schema = {"type": ["number", "boolean"]}
_BUILT_IN = {
    "__PLAN__": "plan",
    "__DEVICE__": "device",
    "__PLAN_OR_DEVICE__": "plan_or_device",
    "__READABLE__": "readable",
    "__MOVABLE__": "movable",
    "__FLYABLE__": "flyable",
    "__CALLABLE__": "callable",
}
_SIMPLE: Mapping[str, Schema] = {
    "float": _NUMBER,
    "int": {"type": "integer"},
    "str": {"type": "string"},
    "bool": {"anyOf": [{"type": "boolean"}, {"enum": [0, 1]}]},
    "None": {"type": "null"},
    "NoneType": {"type": "null"},
    "Hashable": {"type": ["string", "number", "boolean", "null"]},
    "list": {"type": "array"},
    "List": {"type": "array"},
    "tuple": {"type": "array"},
    "Tuple": {"type": "array"},
    "Sequence": {"type": "array"},
    "dict": {"type": "object"},
    "Dict": {"type": "object"},
    "Mapping": {"type": "object"},
    "Iterable": {"type": ["array", "object"]},
}


def build_schema(plan: Mapping[str, Any]) -> Schema:
    """The schema of an object that holds a plan's arguments by name; `plan` is one of RE Manager's allowed plans.

    `*args` is an array and `**kwargs` an object, under their names; with `**kwargs` further names are allowed too.
    Parameters that are not plain names carry `x-qserver-kind` (POSITIONAL_ONLY, VAR_POSITIONAL, VAR_KEYWORD).
    """
    properties: dict[str, Schema] = {}
    required: list[str] = []
    takes_more = False
    for parameter in plan.get("parameters") or ():
        name, kind = parameter["name"], (parameter.get("kind") or {}).get("name", "POSITIONAL_OR_KEYWORD")
        properties[name] = _describe_parameter(parameter, kind)
        takes_more = takes_more or kind == "VAR_KEYWORD"
        if "default" not in parameter and not kind.startswith("VAR_"):
            required.append(name)
    schema: Schema = {"$schema": DIALECT, "title": plan.get("name", ""), "type": "object"}
    if description := plan.get("description"):
        schema["description"] = description
    return {**schema, "properties": properties, "required": required, "additionalProperties": takes_more}


def _describe_parameter(parameter: Mapping[str, Any], kind: str) -> Schema:
    value = _translate_annotation(parameter.get("annotation") or {})
    low, high = (_read_number(parameter.get(name)) for name in ("min", "max"))
    if low is not None or high is not None:
        value = _limit(value, low, high)
    if kind == "VAR_POSITIONAL":
        value = {"type": "array", "items": value}
    elif kind == "VAR_KEYWORD":
        value = {"type": "object"}
    schema: Schema = {"title": parameter["name"], **value}
    if description := parameter.get("description"):
        schema["description"] = description
    if kind not in {"POSITIONAL_OR_KEYWORD", "KEYWORD_ONLY"}:
        schema["x-qserver-kind"] = kind
    if (step := _read_number(parameter.get("step"))) is not None:
        schema["x-qserver-step"] = step
    if "default" in parameter:
        schema |= _read_default(parameter["default"])
    return schema


def _read_default(text: Any) -> Schema:
    """`default`, where the Python literal is JSON too."""
    try:
        value = ast.literal_eval(text)
        json.dumps(value, allow_nan=False)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return {}
    return {"default": value} if _is_json(value) else {}


def _is_json(value: Any) -> bool:
    """Whether JSON gives the value back as it is: no tuples, no keys that are numbers."""
    return bool(json.loads(json.dumps(value)) == value)


def _read_number(text: Any) -> int | float | None:
    """The number in a text of RE Manager (it writes limits as text). None for none, and for infinities."""
    try:
        value = float(text)
        return int(value) if value.is_integer() else (value if value == value else None)  # noqa: PLR0124  # NaN
    except (TypeError, ValueError, OverflowError):
        return None


def _translate_annotation(annotation: Mapping[str, Any]) -> Schema:
    enums: dict[str, Schema] = {}
    for group in ("devices", "plans", "enums"):
        for name, values in (annotation.get(group) or {}).items():
            # Nothing is allowed: RE Manager's words say it better than an enum without members could.
            enums[name] = {"enum": list(values)} if values else {"type": "string"}
            if group != "enums":
                enums[name]["x-qserver-type"] = group.removesuffix("s")
    try:
        tree = ast.parse(str(annotation.get("type", "typing.Any")), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return {}
    return _translate(tree, enums)


def _translate(node: ast.expr, enums: Mapping[str, Schema]) -> Schema:
    """The schema of a type expression; `{}` (anything) for what is not known exactly."""
    match node:
        case ast.Constant(value=None):
            return dict(_SIMPLE["None"])
        case ast.Name(id=name) if name in enums:
            return dict(enums[name])
        case ast.Name(id=name) if name in _BUILT_IN:
            return {"type": "string", "x-qserver-type": _BUILT_IN[name]}
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return dict(_SIMPLE.get(name, {}))
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _unite([_translate(left, enums), _translate(right, enums)])
        case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name), slice=inner):
            of = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            return _GENERIC[name](of, enums) if name in _GENERIC else {}
    return {}


def _unite(choices: Sequence[Schema]) -> Schema:
    """Any of the choices; anything, when one of them is that. Hints survive, for forms."""
    flat = [part for choice in choices for part in (choice["anyOf"] if set(choice) == {"anyOf"} else [choice])]
    if any(not {name for name in part if not name.startswith("x-")} for part in flat):
        return next(({"x-qserver-type": part["x-qserver-type"]} for part in flat if "x-qserver-type" in part), {})
    unique = [part for at, part in enumerate(flat) if part not in flat[:at]]
    return unique[0] if len(unique) == 1 else {"anyOf": unique}


def _translate_union(of: Sequence[ast.expr], enums: Mapping[str, Schema]) -> Schema:
    return _unite([_translate(choice, enums) for choice in of])


def _translate_optional(of: Sequence[ast.expr], enums: Mapping[str, Schema]) -> Schema:
    return _unite([_translate(of[0], enums), {"type": "null"}])


def _translate_array(of: Sequence[ast.expr], enums: Mapping[str, Schema]) -> Schema:
    return {"type": "array", "items": _translate(of[0], enums)}


def _translate_tuple(of: Sequence[ast.expr], enums: Mapping[str, Schema]) -> Schema:
    if len(of) == 2 and isinstance(of[1], ast.Constant) and of[1].value is ...:
        return _translate_array(of, enums)
    if any(not isinstance(part, (ast.Name, ast.Attribute, ast.Subscript, ast.BinOp, ast.Constant)) for part in of):
        return {"type": "array"}
    parts = [_translate(part, enums) for part in of]
    return {"type": "array", "prefixItems": parts, "minItems": len(parts), "maxItems": len(parts)}


def _translate_object(_: Sequence[ast.expr], __: Mapping[str, Schema]) -> Schema:
    return {"type": "object"}


def _translate_iterable(of: Sequence[ast.expr], enums: Mapping[str, Schema]) -> Schema:
    return {"type": ["array", "object"], "items": _translate(of[0], enums)}


def _translate_literal(of: Sequence[ast.expr], _: Mapping[str, Schema]) -> Schema:
    values = [part.value for part in of if isinstance(part, ast.Constant)]
    is_plain = len(values) == len(of) and all(value is None or isinstance(value, str) for value in values)
    return {"enum": values} if is_plain else {}


_GENERIC: Mapping[str, Callable[[Sequence[ast.expr], Mapping[str, Schema]], Schema]] = {
    "Union": _translate_union,
    "Optional": _translate_optional,
    "List": _translate_array,
    "list": _translate_array,
    "Sequence": _translate_array,
    "Tuple": _translate_tuple,
    "tuple": _translate_tuple,
    "Dict": _translate_object,
    "dict": _translate_object,
    "Mapping": _translate_object,
    "Iterable": _translate_iterable,
    "Literal": _translate_literal,
}


def _limit(schema: Schema, low: int | float | None, high: int | float | None) -> Schema:
    """The schema with a range for every number in it. What is inside an open value stays open."""
    limits = {name: value for name, value in (("minimum", low), ("maximum", high)) if value is not None}
    found = dict(schema)
    for name in ("anyOf", "prefixItems"):
        if name in found:
            found[name] = [_limit(part, low, high) for part in found[name]]
    if "items" in found:
        found["items"] = _limit(found["items"], low, high)
    kinds = found.get("type", "number" if not found.keys() & {"anyOf", "enum"} else ())
    if "number" in kinds or kinds == "integer":
        found |= limits
    return found
