"""Words of a command line as the arguments of a plan, checked against the plan's schema before anything is sent.

The rules:
1. Words without a name fill the plan's parameters in their order. A list takes all words that are left, unless another
   parameter behind it needs some: then it takes one, with its members by comma (`det1,det2`) or as JSON.
2. `--name value`, `--name=value` and `name=value` name a parameter. A list takes all words up to the next name.
3. A value is read as JSON where the schema wants something else than text.
The schema is that of `/api/plans/allowed/schema`, which never refuses what RE Manager accepts.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from sanic_qserver.client.failures import WrongUsage

Schema = Mapping[str, Any]
_NAMED = re.compile(r"(--)?([A-Za-z_][A-Za-z0-9_-]*)=(.*)", re.DOTALL)
_ANY = object()
_KINDS: Mapping[str, tuple[type, ...]] = {
    "integer": (int,),
    "number": (int, float),
    "string": (str,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
    "boolean": (bool,),
}


def build_item(name: str, words: Sequence[str], schema: Schema) -> dict[str, Any]:
    """The item of a plan with these arguments. Raises WrongUsage, which names the argument."""
    positional, named = _split(words, schema)
    _fill(schema["properties"], positional, named)
    return assemble_item(name, named, schema)


def assemble_item(name: str, named: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """The item of a plan with arguments by name. Raises WrongUsage, which names the argument."""
    for one in named:
        _parameter(one, schema)
    _check(name, schema, named)
    properties: Mapping[str, Schema] = schema["properties"]
    args: list[Any] = []
    variable = next((one for one, of in properties.items() if _kind(of) == "VAR_POSITIONAL"), None)
    kwargs = {one: named[one] for one in (*properties, *named) if one in named}  # As the plan has them, for people.
    if variable in kwargs:
        for one, of in properties.items():
            if one == variable:
                break
            if one not in kwargs:
                if "default" not in of:
                    raise WrongUsage(f"{name}: {one} is missing before {variable}")
                kwargs[one] = of["default"]
            args.append(kwargs.pop(one))
        args += kwargs.pop(variable)
    else:
        for one, of in properties.items():
            if _kind(of) != "POSITIONAL_ONLY" or one not in kwargs:
                break
            args.append(kwargs.pop(one))
    more = next((one for one, of in properties.items() if _kind(of) == "VAR_KEYWORD" and one in kwargs), None)
    if more is not None:
        kwargs |= kwargs.pop(more)
    return {"item_type": "plan", "name": name, "args": args, "kwargs": kwargs}


def _kind(schema: Schema) -> str:
    return str(schema.get("x-qserver-kind", ""))


def _split(words: Sequence[str], schema: Schema) -> tuple[list[str], dict[str, Any]]:
    """The words without a name, and the values of those with one."""
    positional: list[str] = []
    named: dict[str, Any] = {}
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        match = _NAMED.fullmatch(word)
        is_known = match is not None and (match[1] or _find(match[2], schema) in schema["properties"])
        if match is not None and is_known:
            parameter = _parameter(match[2], schema)
            values = [match[3]]
        elif word.startswith("--") and word[2:3].isalpha():
            parameter, values = _parameter(word[2:], schema), []
            of = schema["properties"].get(parameter, {})
            while at < len(words) and not _is_name(words[at], schema) and (not values or accepts(of, "array")):
                values.append(words[at])
                at += 1
            if not values and accepts(of, "boolean") and not accepts(of, "integer"):
                values = ["true"]
        else:
            positional.append(word)
            continue
        if not values:
            raise WrongUsage(f"{word} needs a value")
        if parameter in named:
            raise WrongUsage(f"{parameter} is given twice")
        named[parameter] = read_values(parameter, values, schema["properties"].get(parameter, {}))
    return positional, named


def _is_name(word: str, schema: Schema) -> bool:
    match = _NAMED.fullmatch(word)
    if match is not None and _find(match[2], schema) in schema["properties"]:
        return True
    return word.startswith("--") and word[2:3].isalpha()


def _find(word: str, schema: Schema) -> str:
    """The parameter that a word names: `per-step` is `per_step`."""
    return word if word in schema["properties"] else word.replace("-", "_")


def _parameter(word: str, schema: Schema) -> str:
    found = _find(word, schema)
    if found not in schema["properties"] and not schema.get("additionalProperties"):
        from difflib import get_close_matches

        close = get_close_matches(found, list(schema["properties"]), n=1)
        names = ", ".join(schema["properties"]) or "none"
        hint = f"Did you mean --{close[0]}?" if close else f"Its parameters: {names}."
        raise WrongUsage(f"{schema.get('title', 'The plan')} has no parameter {word!r}", hint)
    return found


def _fill(properties: Mapping[str, Schema], words: list[str], named: dict[str, Any]) -> None:
    """Give words without a name to parameters, in order."""
    order = [name for name, of in properties.items() if _kind(of) not in {"KEYWORD_ONLY", "VAR_KEYWORD"}]
    left = list(words)
    for at, name in enumerate(order):
        if not left:
            return
        of = properties[name]
        if name in named:
            continue
        behind = [one for one in order[at + 1 :] if one not in named]
        needs_some = any("default" not in properties[one] for one in behind)
        if _kind(of) == "VAR_POSITIONAL" or (accepts(of, "array") and not needs_some):
            named[name] = read_values(name, left, of)
            left = []
        else:
            named[name] = read_values(name, [left.pop(0)], of)
    if left:
        raise WrongUsage(f"Too many words: {' '.join(left)}", "Name the parameter: --name value.")


def read_values(name: str, words: Sequence[str], schema: Schema) -> Any:
    """The value of one parameter."""
    if not accepts(schema, "array") or (len(words) == 1 and words[0].lstrip().startswith(("[", "{"))):
        if len(words) > 1:
            raise WrongUsage(f"{name} takes one value, not {len(words)}")
        return read_word(words[0], schema)
    parts = words[0].split(",") if len(words) == 1 and _kind(schema) != "VAR_POSITIONAL" else words
    if len(words) == 1 and "," not in words[0] and accepts(schema, "string") and schema.get("type") != "array":
        return read_word(words[0], schema)
    return [read_word(part, _items(schema)) for part in parts]


def _items(schema: Schema) -> Schema:
    """The schema of a list's members."""
    if "items" in schema:
        return dict(schema["items"])
    return next((_items(one) for one in schema.get("anyOf", ()) if accepts(one, "array")), {})


def accepts(schema: Schema, kind: str) -> bool:
    """Whether a schema allows values of a JSON type; `{}` allows all, but a list it does not mean."""
    if "anyOf" in schema:
        return any(accepts(one, kind) for one in schema["anyOf"])
    if "enum" in schema:
        return any(_is_of(value, kind) for value in schema["enum"])
    if "type" not in schema:
        return kind != "array"
    kinds = schema["type"]
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return kind in kinds or (kind == "integer" and "number" in kinds)


def _is_of(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _KINDS.get(kind, ()))


def read_word(word: str, schema: Schema) -> Any:
    """A word as JSON where that fits, else as text."""
    try:
        value = json.loads(word)
    except ValueError:
        value = {"True": True, "False": False, "None": None}.get(word, _ANY)
    if value is _ANY or (explain_misfit(value, schema) and not explain_misfit(word, schema)):
        return word
    return value


def _check(name: str, schema: Schema, named: Mapping[str, Any]) -> None:
    missing = [one for one in schema["required"] if one not in named]
    if missing:
        raise WrongUsage(f"{name}: {', '.join(missing)} missing", f"qsctl plans {name} shows the parameters.")
    for one, value in named.items():
        if misfit := explain_misfit(value, schema["properties"].get(one, {})):
            raise WrongUsage(f"{name}: {one}: {misfit}", f"qsctl plans {name} shows the parameters.")


def explain_misfit(value: Any, schema: Schema) -> str:
    """Why a value does not fit a schema; empty when it does. Knows what plan schemas are made of."""
    if "anyOf" in schema:
        misfits = [explain_misfit(value, one) for one in schema["anyOf"]]
        return "" if "" in misfits else misfits[0]
    if "enum" in schema and value not in schema["enum"]:
        return f"{json.dumps(value)} is not one of {', '.join(map(str, schema['enum'][:12]))}"
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is_of(value, kind) for kind in kinds):
        return f"{json.dumps(value)} is not of type {' or '.join(kinds)}"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        low, high = schema.get("minimum"), schema.get("maximum")
        if low is not None and value < low:
            return f"{value} is less than {low}"
        if high is not None and value > high:
            return f"{value} is more than {high}"
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        return next((misfit for one in value if (misfit := explain_misfit(one, schema["items"]))), "")
    return ""
