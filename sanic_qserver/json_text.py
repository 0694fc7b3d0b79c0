"""Values as JSON text for logs, whatever strings they hold."""

from typing import Any

import msgspec


def encode_text(value: Any) -> str:
    """One line of JSON. A lone surrogate, as in a path that is no UTF-8, becomes a question mark."""
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        return msgspec.json.encode(_clean(value)).decode()


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {name: _clean(part) for name, part in value.items()}
    return value
