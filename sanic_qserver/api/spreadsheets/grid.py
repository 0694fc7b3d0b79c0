"""Grids: what a file holds, as rows of cells with their numbers. And the error that says where something is wrong."""

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

Row = tuple[int, tuple[Any, ...]]
"""The number of a row, as the spreadsheet program shows it, and its cells."""


class BadSheet(Exception):
    """The file cannot be read as plans. The text is for the client: it names sheet, cell and value.

    `reader` is the module whose reader said so; empty for the default one.
    """

    reader = ""


class Limits(Struct, frozen=True, kw_only=True):
    """What a file may be at most. See `[spreadsheets]` in `config.toml`."""

    max_rows: int = 20_000
    max_columns: int = 200
    max_cell_chars: int = 10_000
    max_unpacked_bytes: int = 200_000_000
    max_memory_bytes: int = 1_000_000_000
    timeout_s: float = 30.0


class Grid(Struct, frozen=True, kw_only=True):
    """One sheet. `rows` may be read once."""

    sheet: str
    rows: Iterator[Row]


def column_name(number: int) -> str:
    """The letters of a column, counted from 1: A, B, … Z, AA."""
    letters = ""
    while number > 0:
        number, rest = divmod(number - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


def place(sheet: str, row: int, column: int, header: str = "") -> str:
    """Where a cell is, for people: sheet 'Plans', row 3, column B ('args')."""
    named = f" ('{header}')" if header else ""
    return f"sheet '{sheet}', row {row}, column {column_name(column)}{named}"


def shown(value: Any) -> str:
    """A cell's value, short enough for a message."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"


def within(grid: Grid, limits: Limits) -> Grid:
    """The grid without empty rows, refusing what is over the limits while it is read."""
    return Grid(sheet=grid.sheet, rows=_within(grid, limits))


def _within(grid: Grid, limits: Limits) -> Iterator[Row]:
    count = 0
    for number, cells in grid.rows:
        last = max((column for column, cell in enumerate(cells, 1) if not is_empty(cell)), default=0)
        if last == 0:
            continue
        count += 1
        if count > limits.max_rows + 1:  # The header is no row of plans.
            raise BadSheet(f"sheet '{grid.sheet}' has more than {limits.max_rows} rows")
        if last > limits.max_columns:
            raise BadSheet(f"{place(grid.sheet, number, last)}: more than {limits.max_columns} columns")
        for column, cell in enumerate(cells[:last], 1):
            if isinstance(cell, str) and len(cell) > limits.max_cell_chars:
                raise BadSheet(
                    f"{place(grid.sheet, number, column)} holds {len(cell)} characters; "
                    f"at most {limits.max_cell_chars} are read"
                )
        yield number, tuple(cells[:last])


def is_empty(cell: Any) -> bool:
    """Whether there is nothing in a cell but white space."""
    return cell is None or (isinstance(cell, str) and not cell.strip())


def find_ending(name: str) -> str:
    """The ending of a file's name, lower case, with its dot; "" when there is none."""
    _, dot, ending = name.rpartition(".")
    return (dot + ending).lower() if dot else ""
