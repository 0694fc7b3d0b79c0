"""Grid -> plans, in the default format.

The format, as RE Manager's `spreadsheet_to_plan_list` documents it: the first row holds names of columns. Column 1
is the plan's name, column 2 its args, separated by commas without brackets around them; every further column is the
kwarg that its header names. Empty cells are left out. A row without a plan name is skipped.
"""

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from sanic_qserver.api.spreadsheets.cells import NotAValue, read_args, read_value
from sanic_qserver.api.spreadsheets.grid import BadSheet, Grid, is_empty, place, shown

FIRST_KWARG = 3  # Columns are counted from 1.
MAX_MISTAKES = 20


class SheetPlan(Struct, frozen=True, kw_only=True):
    """One plan, and the row that it came from."""

    row: int
    item: dict[str, Any]


class SheetPlans(Struct, frozen=True, kw_only=True):
    """All plans of a sheet, and the rows that were skipped for want of a plan name."""

    sheet: str
    plans: list[SheetPlan]
    skipped: list[int]


def read_plans(grid: Grid) -> SheetPlans:
    """The plans of a grid without empty rows. Raises BadSheet with every mistake, up to 20."""
    first = next(grid.rows, None)
    if first is None:
        raise BadSheet(f"sheet '{grid.sheet}' is empty")
    header = _header(grid.sheet, *first)
    plans: list[SheetPlan] = []
    skipped: list[int] = []
    mistakes: list[str] = []
    for number, cells in grid.rows:
        if is_empty(cells[0]):
            skipped.append(number)
            continue
        found = list(_mistakes(grid.sheet, number, cells, header, plans))
        mistakes.extend(found)
        if len(mistakes) >= MAX_MISTAKES:
            mistakes.append("and perhaps more")
            break
    if mistakes:
        raise BadSheet("; ".join(mistakes))
    return SheetPlans(sheet=grid.sheet, plans=plans, skipped=skipped)


def _header(sheet: str, number: int, cells: tuple[Any, ...]) -> list[str]:
    names = ["" if is_empty(cell) else str(cell).strip() for cell in cells]
    for column, name in enumerate(names, 1):
        if column >= FIRST_KWARG and name and not name.isidentifier():
            raise BadSheet(f"{place(sheet, number, column)}: {shown(name)} is no name of a kwarg")
        if column >= FIRST_KWARG and name and name in names[FIRST_KWARG - 1 : column - 1]:
            raise BadSheet(f"{place(sheet, number, column)}: '{name}' stands there twice")
    return names


def _mistakes(
    sheet: str, number: int, cells: tuple[Any, ...], header: list[str], plans: list[SheetPlan]
) -> Iterator[str]:
    """Append the plan of a row, or say what is wrong with its cells."""
    item: dict[str, Any] = {"item_type": "plan", "name": "", "args": [], "kwargs": {}}
    is_good = True
    for column, cell in enumerate(cells, 1):
        if is_empty(cell):
            continue
        name = header[column - 1] if column <= len(header) else ""
        try:
            _take(item, column, name, cell)
        except NotAValue as error:
            is_good = False
            yield f"{place(sheet, number, column, name)}: {shown(cell)} {error}"
    if is_good:
        plans.append(SheetPlan(row=number, item={key: value for key, value in item.items() if value not in ([], {})}))


def _take(item: dict[str, Any], column: int, header: str, cell: Any) -> None:
    if column == 1:
        name = read_value(cell)
        if not isinstance(name, str) or not name.isidentifier():
            raise NotAValue("is no plan name")
        item["name"] = name
    elif column == 2:
        item["args"] = read_args(cell)
    elif not header:
        raise NotAValue("stands in a column without a name")
    else:
        item["kwargs"][header] = read_value(cell)
