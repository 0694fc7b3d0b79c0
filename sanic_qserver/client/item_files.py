"""Items from files: JSON (a list, or `{"items": [...]}`) and NDJSON (one a line). Sheets are the server's."""

import json
import sys
from pathlib import Path
from typing import Any

from sanic_qserver.client.failures import WrongUsage

SHEETS = (".xlsx", ".xls", ".ods", ".csv")


def is_sheet(path: str) -> bool:
    """Whether a file is a spreadsheet, by its name."""
    return path.lower().endswith(SHEETS)


def read_bytes(path: str) -> bytes:
    """A file, or the input for `-`."""
    try:
        return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise WrongUsage(f"{path} cannot be read: {error.strerror}") from None


def read_items(path: str, content: bytes) -> list[dict[str, Any]]:
    """The items in a file. Raises WrongUsage, which names the line."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise WrongUsage(f"{path} is not text in UTF-8") from None
    try:
        found = json.loads(text)
    except ValueError:
        found = _read_lines(path, text)
    if isinstance(found, dict):
        found = found["items"] if isinstance(found.get("items"), list) else [found]
    if not isinstance(found, list) or not found:
        raise WrongUsage(f"{path} holds no items")
    for at, item in enumerate(found):
        if not isinstance(item, dict):
            raise WrongUsage(f"{path}: item {at + 1} is not an object")
    return found


def _read_lines(path: str, text: str) -> list[Any]:
    items = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                items.append(json.loads(line))
            except ValueError as error:
                raise WrongUsage(f"{path}, line {number}: not JSON ({error})") from None
    return items
