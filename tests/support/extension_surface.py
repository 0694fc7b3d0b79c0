"""The surface of `sanic_qserver.extension_api`, as text: every name with its signature, fields and members.

`python tests/support/extension_surface.py` writes it to tests/data/extension_api.txt and prints its fingerprint.
"""

import dataclasses
import enum
import hashlib
import inspect
from pathlib import Path

import msgspec

from sanic_qserver import extension_api

# Parts of public classes that are the server's own: nothing is promised about them.
INTERNAL = {
    "Call.services", "Call.charges", "Call.unknown", "Call.fairness_key", "Call.address", "Call.query",
    "Call.find_site",
    "Endpoint.ignores_credential", "Endpoint.inside", "Endpoint.any_scope", "Endpoint.at_root",
    "Stream.also_serves_http", "Stream.any_scope", "Stream.at_root", "Stream.narrowed",
    "Stream.for_params(self, params)", "Credential.peer", "Credential.certificate",
    "Attempt.is_stream", "Answer.cookies",
    "ExtensionHost.context", "ExtensionHost.contribution", "SpreadsheetFile.isolation",
}  # fmt: skip
FILE = Path(__file__).parent.parent / "data" / "extension_api.txt"


def surface():
    """One line for every name, field, method and member that a custom module may rely on."""
    lines = [f"version {extension_api.API_VERSION}"]
    for name in extension_api.__all__:
        value = getattr(extension_api, name)
        if isinstance(value, type):
            lines += [line for line in _class(name, value) if line.strip() not in INTERNAL]
        elif callable(value) and hasattr(value, "__name__"):
            lines.append(f"{name}{_signature(value)}")
        else:
            lines.append(f"{name} = {value}" if isinstance(value, str) else name)
    return "\n".join(lines) + "\n"


def fingerprint(text):
    """Eight characters that change whenever the surface does."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _class(name, value):
    yield f"class {name}({', '.join(base.__name__ for base in value.__bases__)})"
    if issubclass(value, enum.Enum):
        yield from (f"  {name}.{member.name} = {member.value!r}" for member in value)
        return
    if issubclass(value, msgspec.Struct):
        yield from (f"  {name}.{field.name}" for field in msgspec.structs.fields(value))
    elif dataclasses.is_dataclass(value):
        yield from (f"  {name}.{field.name}" for field in dataclasses.fields(value))
    if issubclass(value, Exception):
        yield f"  {name}.status = {getattr(value, 'status', None)}, code = {getattr(value, 'code', None)}"
    for attribute, member in sorted(vars(value).items()):
        if attribute.startswith("_"):
            continue
        if inspect.isfunction(member):
            yield f"  {name}.{attribute}{_signature(member)}"
        elif isinstance(member, property):
            yield f"  {name}.{attribute}"


def _signature(function):
    """The parameters: names, order, and whether they may be left out. Types are mypy's business."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return "(...)"
    return f"({', '.join(map(_parameter, parameters))})"


def _parameter(one):
    star = "*" if one.kind in (one.KEYWORD_ONLY, one.VAR_POSITIONAL) else "**" if one.kind is one.VAR_KEYWORD else ""
    return f"{star}{one.name}{'' if one.default is one.empty else '='}"


if __name__ == "__main__":
    FILE.write_text(surface())
    print(fingerprint(surface()))
