"""What passes between the server and the process that reads a file."""

from typing import Any

from msgspec import Struct

from sanic_qserver.api.spreadsheets.grid import Limits
from sanic_qserver.api.spreadsheets.sheet_plans import SheetPlans


class Job(Struct, frozen=True, kw_only=True):
    """What to do. `as_grid`: give the cells as they are, for a reader of somebody else's."""

    name: str
    sheet: str
    as_grid: bool
    limits: Limits


class Outcome(Struct, frozen=True, kw_only=True):
    """What came of it: plans, or cells, or what is wrong with the file."""

    plans: SheetPlans | None = None
    sheet: str = ""
    rows: list[tuple[int, list[Any]]] = []
    mistake: str = ""
