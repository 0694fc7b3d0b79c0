"""The spreadsheet in a form: read by the site's readers, or refused."""

from msgspec import UnsetType

from sanic_qserver.api.call import Call
from sanic_qserver.api.spreadsheets.readers import SheetContent, SpreadsheetFile
from sanic_qserver.errors import BadArguments, BodyTooLarge

PART = "spreadsheet"


async def read_sheet(call: Call, data_type: str | UnsetType, sheet: str | UnsetType) -> SheetContent:
    """The plans of the form part `spreadsheet`. Raises BadSheet, BadArguments and BodyTooLarge."""
    part = call.files.get(PART)
    if part is None:
        raise BadArguments("spreadsheet: the form part with the file is missing", extra={"field": PART})
    limit = call.services.config.spreadsheets.max_bytes
    if len(part.body) > limit:
        raise BodyTooLarge(f"spreadsheet: the file has {len(part.body)} bytes; at most {limit} are read")
    readers = call.services.sheet_readers
    file = SpreadsheetFile(
        name=part.name or "",
        body=part.body,
        data_type="" if isinstance(data_type, UnsetType) else data_type,
        user=call.access.principal.name,
        sheet="" if isinstance(sheet, UnsetType) else sheet,
        isolation=readers.isolation,
    )
    return await readers.read(file)
