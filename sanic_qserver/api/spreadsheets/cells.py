"""Cells -> values. A cell is read as a Python literal and never evaluated.

The rules:
1. A number is itself; a whole one is an integer (spreadsheets know no other).
2. A text is the literal that it spells: `'det1'`, `['det1', 'det2']`, `{"a": 1}`, `-1.5`, `True`, `None`.
   The forms TRUE and FALSE of spreadsheet programs hold too.
3. A bare name (`det1`, `stage.x`) is the text itself: what people write.
4. Everything else is refused: expressions (`1 + 1`), calls, formulas, free text without quotes, error values
   (`#REF!`), dates. RE Manager's own reader evaluates cells; a server must not.
"""

import ast
import datetime as dt
import math
import re
from functools import lru_cache
from typing import Any

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_WORDS = {"TRUE": True, "FALSE": False, "true": True, "false": False}
MAX_DEPTH = 20


class NotAValue(Exception):
    """The cell holds no literal; the text says what it is instead."""


def read_value(cell: Any) -> Any:
    """The value of one cell, made of what JSON knows. Raises NotAValue."""
    if isinstance(cell, (dt.date, dt.time, dt.timedelta)):
        raise NotAValue(f"is a date or time ({cell}); to send it as text, write it in quotes in a text cell")
    if isinstance(cell, str):
        return _of_text(cell.strip())
    return _plain(_whole(cell), 0)


def read_args(cell: Any) -> list[Any]:
    """The values of the cell with a plan's args: separated by commas, without brackets around them."""
    if isinstance(cell, str) and not _is_bare(cell.strip()):
        literal = _literal(cell.strip())
        if isinstance(literal, tuple):
            return [_plain(part, 0) for part in literal]
        return [_plain(_whole(literal), 0)]
    return [read_value(cell)]


def _is_bare(text: str) -> bool:
    return _NAME.fullmatch(text) is not None and text not in ("True", "False", "None")


def _of_text(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if _is_bare(text):
        return text
    return _plain(_whole(_literal(text)), 0)


@lru_cache(maxsize=4096)  # Sheets repeat themselves. What is mutable is copied by `_plain`.
def _literal(text: str) -> Any:
    if text.startswith("="):
        raise NotAValue("is a formula; only values are read")
    if text.startswith("#"):
        raise NotAValue("is an error value of the spreadsheet program")
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise NotAValue("is no Python literal; texts need quotes, and expressions are not evaluated") from None


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _plain(value: Any, depth: int) -> Any:
    """The value in JSON's terms: tuples as lists, keys as texts. Raises NotAValue for what JSON does not know."""
    if depth > MAX_DEPTH:
        raise NotAValue("is nested too deeply")
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        if abs(value) >= 2**63:
            raise NotAValue("is a number over 64 bits")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NotAValue("is not a finite number")
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(part, depth + 1) for part in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(part, depth + 1) for key, part in value.items()}
    raise NotAValue(f"is a {type(value).__name__}: only numbers, texts, booleans, lists and dictionaries can be sent")
