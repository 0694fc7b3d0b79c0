"""Files -> grids, by the ending of their names."""

import csv
import io
from collections.abc import Iterator
from typing import Any

from sanic_qserver.api.spreadsheets.grid import BadSheet, Grid, Limits, Row, find_ending, within
from sanic_qserver.api.spreadsheets.workbook import OLE, sheet_named, xlsx_grid

ENDINGS = (".xlsx", ".xlsm", ".csv", ".xls", ".ods")


def read_grid(name: str, body: bytes, sheet: str, limits: Limits) -> Grid:
    """The wanted sheet of a file, without empty rows. Raises BadSheet."""
    ending = find_ending(name)
    if not body:
        raise BadSheet("the file is empty")
    if ending in (".xlsx", ".xlsm"):
        grid = xlsx_grid(body, sheet, limits)
    elif ending == ".csv":
        grid = _csv_grid(name, body, limits)
    elif ending in (".xls", ".ods"):
        grid = _calamine_grid(ending, body, sheet)
    else:
        raise BadSheet(f"the ending '{ending}' is not supported; supported are {', '.join(ENDINGS)}")
    return within(grid, limits)


def _csv_grid(name: str, body: bytes, limits: Limits) -> Grid:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadSheet(f"the file is not UTF-8 text: {error}") from None
    first = text.partition("\n")[0]
    # Spreadsheet programs of countries with a decimal comma separate with semicolons.
    delimiter = max(",;\t", key=first.count)
    csv.field_size_limit(limits.max_cell_chars + 1)
    return Grid(sheet=name, rows=_csv_rows(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)))


def _csv_rows(lines: Any) -> Iterator[Row]:
    number = 0
    while True:
        number = lines.line_num + 1
        try:
            cells = next(lines, None)
        except csv.Error as error:
            raise BadSheet(f"line {number} is not readable as CSV: {error}") from None
        if cells is None:
            return
        yield number, tuple(cells)


def _calamine_grid(ending: str, body: bytes, wanted: str) -> Grid:
    try:
        import python_calamine as calamine  # noqa: PLC0415  # the extra [sheets]
    except ImportError:
        raise BadSheet(
            f"{ending} files need the extra 'sheets' on the server; .xlsx and .csv are always read"
        ) from None
    if ending == ".xls" and not body.startswith(OLE):
        raise BadSheet("the file is no .xls workbook")
    try:
        book = calamine.load_workbook(io.BytesIO(body))
        name = sheet_named(book.sheet_names, wanted)
        sheet = book.get_sheet_by_name(name)
        merged = sheet.merged_cell_ranges or []
        first = (sheet.start or (0, 0))[0]
        rows = list(sheet.iter_rows())
    except calamine.PasswordError:
        raise BadSheet("the file is protected by a password") from None
    except (BadSheet, MemoryError, KeyboardInterrupt):
        raise
    except BaseException as error:  # Damaged files make it panic (seen), and a panic is no Exception.
        raise BadSheet(f"the file is no readable {ending} workbook: {error}") from None
    if merged:
        raise BadSheet(f"sheet '{name}' has merged cells; undo that and fill each")
    return Grid(sheet=name, rows=((number, _none_for_empty(cells)) for number, cells in enumerate(rows, first + 1)))


def _none_for_empty(cells: list[Any]) -> tuple[Any, ...]:
    return tuple(None if cell == "" else cell for cell in cells)
