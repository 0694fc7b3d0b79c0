"""Policy files as text: read, parsed, with the line of every entry. What they mean is the business of others."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from msgspec import Struct

from sanic_qserver.errors import ConfigError

# The C parser reads 10,000 users in a fraction of a second, the Python one in many.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Document(Struct, frozen=True, kw_only=True):
    """One policy file: where it came from, its text, and what the text says."""

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
    """Read a YAML file. Raises ConfigError when it cannot be read, is empty, or says one thing twice."""
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: {error}") from None
    return parse_document(text, str(file))


def parse_document(text: str, source: str) -> Document:
    """Parse YAML text. Raises ConfigError."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{source}: the file is empty or not a mapping")
        _refuse_twice(node, source)
        values = loader.construct_document(node)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{source}: {' '.join(str(error).split())}") from None
    finally:
        loader.dispose()
    return Document(source=source, text=text, values=values)


def _refuse_twice(root: yaml.Node, source: str) -> None:
    """YAML lets the last of two equal keys win in silence: in a policy that is a mistake."""
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:  # An alias.
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting.extend(node.value)
        elif isinstance(node, yaml.MappingNode):
            names: set[Any] = set()
            for key, value in node.value:
                if key.value in names and key.value != "<<":
                    raise ConfigError(f"{source}:{key.start_mark.line + 1}: '{key.value}' stands here a second time")
                names.add(key.value if isinstance(key.value, str) else id(key))
                waiting.append(value)


def _child(node: yaml.Node | None, step: str | int) -> tuple[yaml.Node, int] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(step):
                return value, key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        value = node.value[step]
        return value, value.start_mark.line + 1
    return None
