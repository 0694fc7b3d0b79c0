"""Spreadsheets of plans: column 1 plan names, column 2 args, further columns kwargs by their header.

Cells are read as Python literals only and never evaluated; a text that is no literal is the text itself.
"""

import ast
import asyncio
import csv
import io
from collections.abc import Iterator
from typing import Any, cast
from zipfile import BadZipFile

import msgspec
import openpyxl

from sanic_qserver.endpoints.endpoint import Call, UploadedFile
from sanic_qserver.errors import BadArguments
from sanic_qserver.structs.requests import QueueItemAddBatch

Row = tuple[Any, ...]


class BadSheet(Exception):
    """The sheet cannot be read as plans; the text names row and column."""


async def upload_spreadsheet(call: Call) -> bytes:
    """Read the form part `spreadsheet` and add its plans as one batch.

    A sheet that cannot be read answers as RE Manager refuses: 200, `success` false, and the reason.
    """
    file = call.files.get("spreadsheet")
    if file is None:
        raise BadArguments("spreadsheet: the form part with the file is missing")
    try:
        items = await asyncio.to_thread(plans_of, file)
    except BadSheet as error:
        return msgspec.json.encode({"success": False, "msg": str(error), "items": [], "results": []})
    params = QueueItemAddBatch(items=items, user=call.access.user, user_group=call.access.user_group)
    return await call.ask(params)


def plans_of(file: UploadedFile) -> list[dict[str, Any]]:
    """The plans of a sheet. Raises BadSheet."""
    rows = _rows(file)
    header = next(rows, None)
    if header is None:
        raise BadSheet(f"'{file.name}': the sheet is empty")
    names = [str(name) if name is not None else "" for name in header]
    return [_plan(names, number, row) for number, row in enumerate(rows, 2) if row and row[0] not in (None, "")]


def _rows(file: UploadedFile) -> Iterator[Row]:
    if file.name.lower().endswith(".xlsx"):
        try:
            book = openpyxl.load_workbook(io.BytesIO(file.body), read_only=True, data_only=True)
        except (BadZipFile, KeyError, ValueError, OSError) as error:
            raise BadSheet(f"'{file.name}' is not a readable .xlsx file: {error}") from None
        return cast("Iterator[Row]", book.worksheets[0].iter_rows(values_only=True))
    if file.name.lower().endswith(".csv"):
        try:
            return (tuple(row) for row in csv.reader(io.StringIO(file.body.decode("utf-8-sig"))))
        except UnicodeDecodeError as error:
            raise BadSheet(f"'{file.name}' is not UTF-8 text: {error}") from None
    raise BadSheet(f"'{file.name}': only .xlsx and .csv files are supported")


def _plan(names: list[str], number: int, row: Row) -> dict[str, Any]:
    name = _value(row[0])
    if not isinstance(name, str) or not name.isidentifier():
        raise BadSheet(f"row {number}, column 1 ('{names[0]}'): {row[0]!r} is not a plan name")
    plan: dict[str, Any] = {"item_type": "plan", "name": name}
    args = _value(row[1]) if len(row) > 1 else None
    if args is not None:
        plan["args"] = list(args) if isinstance(args, tuple) else [args]
    kwargs = {key: _value(cell) for key, cell in zip(names[2:], row[2:], strict=False) if cell not in (None, "")}
    if kwargs:
        plan["kwargs"] = kwargs
    return plan


def _value(cell: Any) -> Any:
    """A cell as a value: numbers as they are (whole ones as int), text as the literal it spells, or as itself."""
    if isinstance(cell, float) and cell.is_integer():
        return int(cell)
    if not isinstance(cell, str):
        return cell
    if cell.strip() == "":
        return None
    try:
        return ast.literal_eval(cell.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return cell
