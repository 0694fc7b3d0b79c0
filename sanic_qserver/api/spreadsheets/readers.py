"""Who reads an uploaded file: the readers of custom modules that want it, in order, then the default one."""

import asyncio
import inspect
import io
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sanic_qserver.api.spreadsheets.grid import BadSheet, Limits, Row, find_ending
from sanic_qserver.api.spreadsheets.isolation import Isolation
from sanic_qserver.config.settings import SpreadsheetsConfig
from sanic_qserver.errors import GatewayError
from sanic_qserver.threads import DaemonThreads

log = logging.getLogger("sanic_qserver.spreadsheets")

Item = dict[str, Any]


@dataclass(frozen=True)
class SpreadsheetFile:
    """An uploaded file, as a reader sees it. `user` is the caller's login name; `sheet` is "" when none was chosen.

    `rows` and `plans` read it in a process of its own, with limits: use them rather than a library of your own.
    """

    name: str
    body: bytes
    data_type: str = ""
    user: str = ""
    sheet: str = ""
    isolation: Isolation = field(default_factory=lambda: Isolation(Limits()), repr=False)

    @property
    def ending(self) -> str:
        """The ending of the name, lower case: `.xlsx`."""
        return find_ending(self.name)

    def open(self) -> io.BytesIO:
        """The file, to read from."""
        return io.BytesIO(self.body)

    def rows(self) -> list[Row]:
        """The rows that are not empty, with their numbers; cells are values as JSON knows them. Raises BadSheet.

        Waits for a process: call it from a plain function, not from an `async` one.
        """
        outcome = self.isolation.read(self.name, self.body, self.sheet, as_grid=True)
        return [(number, tuple(cells)) for number, cells in outcome.rows]

    def plans(self) -> list[Item]:
        """The plans, by the default format. Raises BadSheet. Waits for a process, as `rows` does."""
        outcome = self.isolation.read(self.name, self.body, self.sheet)
        return [plan.item for plan in outcome.plans.plans] if outcome.plans else []


Read = Callable[[SpreadsheetFile], Awaitable[Sequence[Item] | None] | Sequence[Item] | None]
"""Gives the items of a file, or None to decline it. Raises BadSheet, or any other error, for a file with mistakes."""


@dataclass(frozen=True)
class SheetReader:
    """A custom reader, the module it came from, and which files it is asked about (none named: all)."""

    module: str
    read: Read
    endings: tuple[str, ...] = ()
    data_types: tuple[str, ...] = ()

    def wants(self, file: SpreadsheetFile) -> bool:
        """Whether it is asked about this file."""
        return (not self.endings or file.ending in self.endings) and (
            not self.data_types or file.data_type in self.data_types
        )


@dataclass(frozen=True)
class SheetContent:
    """The items of a file; `places` are sheet and row of each, where the reader knows them."""

    items: list[Item]
    places: list[tuple[str, int] | None]
    skipped: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class SheetReaders:
    """All readers of an application."""

    custom: Sequence[SheetReader] = ()
    limits: Limits = field(default_factory=Limits)
    threads: DaemonThreads = field(default_factory=DaemonThreads)
    isolation: Isolation = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "isolation", Isolation(self.limits))

    async def read(self, file: SpreadsheetFile) -> SheetContent:
        """The content of a file. Raises BadSheet."""
        for reader in self.custom:
            if reader.wants(file) and (items := await self._ask(reader, file)) is not None:
                return SheetContent(items, [None] * len(items))
        outcome = await self.threads.run(lambda: self.isolation.read(file.name, file.body, file.sheet))
        found = outcome.plans
        if found is None or not found.plans:
            raise BadSheet(f"'{file.name}': there are no plans in the sheet")
        places: list[tuple[str, int] | None] = [(found.sheet, plan.row) for plan in found.plans]
        return SheetContent([plan.item for plan in found.plans], places, found.skipped)

    async def _ask(self, reader: SheetReader, file: SpreadsheetFile) -> list[Item] | None:
        try:
            return await self._checked(reader, file)
        except BadSheet as error:
            error.reader = reader.module
            raise

    async def _checked(self, reader: SheetReader, file: SpreadsheetFile) -> list[Item] | None:
        try:
            async with asyncio.timeout(self.limits.timeout_s):
                items = await self._run(reader, file)
        except (BadSheet, GatewayError):
            raise
        except TimeoutError:
            raise BadSheet(
                f"'{file.name}': the reader of '{reader.module}' took more than {self.limits.timeout_s:g} s"
            ) from None
        except Exception as error:
            # What a custom reader raises is how it says what is wrong with a file: its text is the whole message, as
            # with the reference server.
            log.warning("The reader of '%s' failed on '%s'", reader.module, file.name, exc_info=error)
            raise BadSheet(str(error) or type(error).__name__) from None
        if items is None:
            return None
        if not isinstance(items, (list, tuple)) or not all(isinstance(item, dict) for item in items):
            raise BadSheet(f"'{file.name}': the reader of '{reader.module}' gave something else than a list of items")
        return list(items)

    async def _run(self, reader: SheetReader, file: SpreadsheetFile) -> Any:
        if inspect.iscoroutinefunction(reader.read):
            return await reader.read(file)
        return await self.threads.run(lambda: reader.read(file))


def sheet_limits(config: SpreadsheetsConfig) -> Limits:
    """The limits of files, as the configuration has them."""
    return Limits(**{name: getattr(config, name) for name in Limits.__struct_fields__})
