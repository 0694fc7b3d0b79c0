"""Policy files as YAML: read and parsed, with the line of every entry. Their meaning is defined elsewhere."""

import contextlib
import gc
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from types import NoneType
from typing import Any

import yaml
from msgspec import Struct

from sanic_qserver.errors import ConfigError

# The C parser reads 10,000 users in a fraction of a second, the Python one in many.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Document(Struct, frozen=True, kw_only=True):
    """One policy file: its source, text and parsed values."""

    source: str
    text: str
    values: Any

    def line(self, path: Sequence[str | int]) -> int:
        """The line (from 1) of an entry, or of the nearest entry around it that exists. 0 without a text."""
        node = yaml.compose(self.text, Loader=_Loader) if self.text else None
        line = 0
        for step in path:
            found = _child(node, step)
            if found is None:
                break
            node, line = found
        return line

    def place(self, path: Sequence[str | int]) -> str:
        """`file:line`, for people."""
        line = self.line(path)
        return f"{self.source}:{line}" if line else self.source


def read_document(file: Path) -> Document:
    """Read a YAML file. Raises ConfigError when it cannot be read, is empty, or has a duplicate key."""
    try:
        text = file.read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is no text: {error}") from None
    return parse_document(text, str(file))


def parse_document(text: str, source: str) -> Document:
    """Parse YAML text. Raises ConfigError."""
    with _without_collector():
        return _parsed(text, source)


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Parsing makes hundreds of thousands of objects and no cycles: garbage collection would double the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _parsed(text: str, source: str) -> Document:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{source}: the file is empty or not a mapping")
        values = _Reading(loader, source).value(node)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{source}: {' '.join(str(error).split())}") from None
    finally:
        loader.dispose()
    return Document(source=source, text=text, values=values)


class _Reading:
    """Nodes -> values. PyYAML's own constructor is three times slower and lets the last of two equal keys win."""

    def __init__(self, loader: Any, source: str) -> None:
        self._loader = loader
        self._source = source
        self._known: dict[int, Any] = {}  # Aliases: one node in several places.

    def value(self, node: yaml.Node) -> Any:
        """The value of a node. Raises ConfigError for a duplicate key, yaml.YAMLError for a tag that names code."""
        if node.tag == "tag:yaml.org,2002:str" and isinstance(node, yaml.ScalarNode):
            return node.value
        if id(node) not in self._known:
            if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
                self._known[id(node)] = self._mapping(node)
            elif isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
                self._known[id(node)] = [self.value(child) for child in node.value]
            else:
                self._known[id(node)] = self._loader.construct_object(node, deep=True)
        return self._known[id(node)]

    def _mapping(self, node: yaml.MappingNode) -> dict[Any, Any]:
        if any(key.value == "<<" for key, _ in node.value):
            self._loader.flatten_mapping(node)  # `<<: *other` merges another mapping.
        values: dict[Any, Any] = {}
        for key, value in node.value:
            name = self.value(key)
            if not isinstance(name, (str, int, float, bool, date, NoneType)):
                raise ConfigError(f"{self._source}:{key.start_mark.line + 1}: a key must be a word")
            if name in values:
                raise ConfigError(f"{self._source}:{key.start_mark.line + 1}: '{name}' stands here a second time")
            values[name] = self.value(value)
        return values


def _child(node: yaml.Node | None, step: str | int) -> tuple[yaml.Node, int] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(step):
                return value, key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        value = node.value[step]
        return value, value.start_mark.line + 1
    return None
