"""A beamline's own spreadsheet: one row a sample on the wheel, one scan for each of its edges.

Columns: `sample`, `slot`, `edges` (for example `Fe, Cu`), `repeats`. Uploaded with `data_type=wheel`.
"""

from typing import Any

from sanic_qserver.extension_api import BadSheet, ExtensionHost, Item, SpreadsheetFile

ENERGIES_EV = {"Fe": 7112, "Co": 7709, "Ni": 8333, "Cu": 8979, "Zn": 9659}
COLUMNS = ("sample", "slot", "edges", "repeats")


def read(file: SpreadsheetFile) -> list[Item]:
    """The plans of a wheel. A plain function: it runs in a thread, and `file.rows()` in a process with limits."""
    (_, header), *rows = file.rows() or [(1, ())]
    if tuple(header[:4]) != COLUMNS:
        raise BadSheet(f"the first row must be {', '.join(COLUMNS)}")
    return [plan for number, cells in rows for plan in _plans(number, *cells, *[None] * (4 - len(cells)))]


def _plans(row: int, sample: Any, slot: Any, edges: Any, repeats: Any, *_: Any) -> list[Item]:
    plans: list[Item] = []
    for edge in str(edges or "").split(","):
        if edge.strip() not in ENERGIES_EV:
            raise BadSheet(f"row {row}, column C (edges): '{edge.strip()}' is none of {', '.join(ENERGIES_EV)}")
        metadata = {"sample": sample, "slot": slot, "edge": edge.strip(), "energy_ev": ENERGIES_EV[edge.strip()]}
        kwargs = {"num": int(repeats or 1), "md": metadata}
        plans.append({"name": "count", "args": [["det1"]], "kwargs": kwargs})
    return plans


def register(host: ExtensionHost) -> None:
    """Add the reader."""
    host.add_spreadsheet_reader(read, endings=[".xlsx", ".csv"], data_types=["wheel"])
