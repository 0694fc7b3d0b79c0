"""What is wrong with a configuration, in words for whoever wrote it: which setting, and what may stand there."""

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import msgspec
from msgspec import inspect

_TCP = re.compile(r"tcp://[^*\s/]+:\d{1,5}")
_CURVE_KEY = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")  # Z85


def explain(error: msgspec.ValidationError, config: type, settings: Mapping[str, Any]) -> str:
    """The text of an error of msgspec, with the setting as `[section] name`, and what may stand there."""
    problem, _, path = str(error).partition(" - at `$")
    steps = re.findall(r"\w+", path)
    kinds = list(_find(inspect.type_info(config), steps, settings))
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", problem):
        return _explain_unknown(unknown[1], steps, kinds)
    values = [value for kind in kinds if isinstance(kind, inspect.LiteralType) for value in kind.values]
    return f"{_name(steps)}: {problem}" + (f"; give one of {_listed(values)}" if values else "")


def _explain_unknown(name: str, steps: Sequence[str], kinds: Sequence[inspect.Type]) -> str:
    fields = [field for kind in kinds if isinstance(kind, inspect.StructType) for field in kind.fields]
    known = [field.encode_name for field in fields if steps or isinstance(field.type, inspect.StructType)]
    near = get_close_matches(name, known, 1)
    said = f"; did you mean '{near[0]}'?" if near else f"; there are {_listed(known)}"
    where = _name(steps) if any(map(str.isdigit, steps)) else f"[{'.'.join(steps)}]"
    return f"{where}: there is no setting '{name}'{said}" if steps else f"there is no section [{name}]{said}"


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(sorted(map(str, set(values))))


def _name(steps: Sequence[str]) -> str:
    """`auth`, `providers`, `0`, `kind` as `[auth] providers no. 1, kind`."""
    numbered = [f"no. {int(step) + 1}" if step.isdigit() else step for step in steps]
    first = next((at for at, step in enumerate(steps) if step.isdigit()), len(steps))
    *sections, name = numbered[:first]
    own = f"[{'.'.join(sections)}] {name}" if sections else f"[{name}]"
    return f"{own} {', '.join(numbered[first:])}".rstrip()


def _find(kind: inspect.Type, steps: Sequence[str], value: Any) -> Iterator[inspect.Type]:
    """What may stand at the end of the steps. `value` is what was written: it tells the kinds of logins apart."""
    if isinstance(kind, inspect.UnionType):
        for one in kind.types:
            yield from _find(one, steps, value)
    elif isinstance(kind, inspect.StructType):
        yield from _find_in_struct(kind, steps, value if isinstance(value, Mapping) else {})
    elif not steps:
        yield kind
    elif isinstance(kind, inspect.CollectionType | inspect.VarTupleType):
        at = int(steps[0]) if steps[0].isdigit() else 0
        yield from _find(kind.item_type, steps[1:], value[at] if isinstance(value, list) and at < len(value) else None)
    elif isinstance(kind, inspect.DictType):
        yield from _find(kind.value_type, steps, None)  # Its key is not in the path.


def _find_in_struct(kind: inspect.StructType, steps: Sequence[str], value: Mapping[str, Any]) -> Iterator[inspect.Type]:
    if steps and steps[0] == kind.tag_field:
        yield inspect.LiteralType((kind.tag,))
    elif kind.tag_field and value.get(kind.tag_field) != kind.tag:
        return
    elif not steps:
        yield kind
    for field in kind.fields:
        if steps and field.encode_name == steps[0]:
            yield from _find(field.type, steps[1:], value.get(steps[0]))


def find_unusable(control_address: str, info_address: str, public_key: str) -> str:
    """Why 0MQ would refuse what `[manager]` says; "" when it would not."""
    for name, address in (("control_address", control_address), ("info_address", info_address)):
        if not (_TCP.fullmatch(address) or re.fullmatch(r"(ipc|inproc)://\S+", address)):
            return f'[manager] {name} = "{address}" is no address to connect to; give one as tcp://localhost:60615'
    if public_key and not _CURVE_KEY.fullmatch(public_key):
        return "[manager] public_key is no CURVE key; give the public one of the two that qserver-zmq-keys prints"
    return ""
