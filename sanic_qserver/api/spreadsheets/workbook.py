"""`.xlsx` files -> grids: openpyxl in read-only mode, behind checks of the archive and its XML.

What is checked before openpyxl sees the file: it is a ZIP archive without encryption, its parts are few and small
when unpacked (their announced sizes; Python's zipfile gives no more than was announced). openpyxl parses XML with
defusedxml, which refuses entities. Macros and external links are parts that nobody opens.
"""

import contextlib
import io
import re
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

import openpyxl
from openpyxl.utils.cell import range_boundaries

from sanic_qserver.api.spreadsheets.grid import BadSheet, Grid, Limits, Row, place

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
MAX_PARTS = 2000
_FORMULA = re.compile(rb"<(?:\w+:)?f[\s/>]")
_MERGED = re.compile(rb"<(?:\w+:)?mergeCell\s[^>]*?ref\s*=\s*[\"']([A-Z]+[0-9]+(?::[A-Z]+[0-9]+)?)[\"']")


def xlsx_grid(body: bytes, wanted: str, limits: Limits) -> Grid:
    """The grid of the sheet `wanted` (a name, or a number from 1; "" for the first). Raises BadSheet."""
    _check_archive(body, limits)
    if not openpyxl.DEFUSEDXML:
        raise BadSheet("defusedxml is not installed on the server: .xlsx files are not read")
    with _readable():
        book = openpyxl.load_workbook(io.BytesIO(body), read_only=True, data_only=True, keep_links=False)
        name = sheet_named([sheet.title for sheet in book.worksheets], wanted)
        sheet = book[name]
        # Private, but there is no other way to know which part of the archive it is.
        marks = _marks(body, str(sheet._worksheet_path))  # noqa: SLF001
    sheet.reset_dimensions()  # The announced size may be a lie.
    rows: Iterator[Row] = _rows(sheet)
    if marks.formulas:
        plain = openpyxl.load_workbook(io.BytesIO(body), read_only=True, data_only=False, keep_links=False)[name]
        plain.reset_dimensions()
        rows = _without_lost_formulas(name, rows, _rows(plain))
    return Grid(sheet=name, rows=_guarded(_without_merged(name, rows, marks.merged)))


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """What zipfile, zlib, the XML parser and openpyxl raise for a broken file is any exception there is."""
    try:
        yield
    except (BadSheet, MemoryError):
        raise
    except Exception as error:
        cause = error.__cause__ or error  # openpyxl wraps what the XML parser says.
        raise BadSheet(f"the file is not a readable .xlsx workbook: {type(cause).__name__}: {cause}") from None


class _Marks:
    """What the XML of a sheet holds beside values."""

    def __init__(self, xml: bytes) -> None:
        self.formulas = _FORMULA.search(xml) is not None
        self.merged = [range_boundaries(ref.decode()) for ref in _MERGED.findall(xml)[:10_000]]


def _marks(body: bytes, part: str) -> _Marks:
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        return _Marks(archive.read(part.lstrip("/")))


def _check_archive(body: bytes, limits: Limits) -> None:
    if body.startswith(OLE):
        raise BadSheet("the file is protected by a password, or an old .xls file under a wrong name")
    with _readable(), zipfile.ZipFile(io.BytesIO(body)) as archive:
        parts = archive.infolist()
        if len(parts) > MAX_PARTS:
            raise BadSheet(f"the workbook has more than {MAX_PARTS} parts")
        if any(part.flag_bits & 1 for part in parts):
            raise BadSheet("the file is protected by a password")
        unpacked = sum(part.file_size for part in parts)
        if unpacked > limits.max_unpacked_bytes:
            raise BadSheet(
                f"the workbook is {unpacked} bytes when unpacked; at most {limits.max_unpacked_bytes} are read"
            )
        for part in parts:
            # The clear words. Where they are hidden in another encoding, defusedxml refuses them.
            if part.filename.endswith((".xml", ".rels")) and b"<!DOCTYPE" in archive.read(part):
                raise BadSheet(f"{part.filename} in the workbook declares a document type (entities); it is not read")


def sheet_named(names: list[str], wanted: str) -> str:
    """The sheet with that name, or else that number, counted from 1. Raises BadSheet."""
    if not names:
        raise BadSheet("the workbook has no sheets")
    if not wanted:
        return names[0]
    if wanted in names:
        return wanted
    if wanted.isdecimal() and 1 <= int(wanted) <= len(names):
        return names[int(wanted) - 1]
    raise BadSheet(f"there is no sheet '{wanted}'; the workbook has {', '.join(repr(name) for name in names[:20])}")


def _rows(sheet: Any) -> Iterator[Row]:
    return enumerate(sheet.iter_rows(values_only=True), 1)


def _without_lost_formulas(sheet: str, values: Iterator[Row], formulas: Iterator[Row]) -> Iterator[Row]:
    """The values, refusing formulas that were never computed: a program wrote them, and their cells seem empty."""
    for (number, cells), (_, sources) in zip(values, formulas, strict=False):
        for column, (cell, source) in enumerate(zip(cells, sources, strict=False), 1):
            if cell is None and source is not None:
                raise BadSheet(
                    f"{place(sheet, number, column)} holds a formula without a computed value: "
                    "open the file in a spreadsheet program and save it, or put the value there"
                )
        yield number, cells


def _without_merged(sheet: str, rows: Iterator[Row], merged: Iterable[tuple[Any, ...]]) -> Iterator[Row]:
    """The rows, refusing merged cells: all but the first of them are empty, and a plan's values would be lost."""
    ranges = sorted(merged, key=lambda area: area[1])
    for number, cells in rows:
        for left, top, right, bottom in ranges:
            if top <= number <= bottom and any(cell is not None for cell in cells):
                raise BadSheet(
                    f"{place(sheet, number, left)}: the cells from row {top} to {bottom}, column {left} to {right}, "
                    "are merged; undo it and fill each"
                )
        yield number, cells


def _guarded(rows: Iterator[Row]) -> Iterator[Row]:
    """The rows; what the parsers raise on the way is a mistake of the file."""
    while True:
        with _readable():
            row = next(rows, None)
        if row is None:
            return
        yield row
