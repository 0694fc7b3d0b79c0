"""The rows of runs, and of other reads whose params are not RE Manager's."""

import msgspec

from sanic_qserver.endpoints.endpoint import Call
from sanic_qserver.structs.requests import Reloadable, ReRuns


async def re_runs_fixed(call: Call) -> bytes:
    """The runs that the last part of the path names."""
    option = call.endpoint.path.rsplit("/", 1)[1]
    return await call.ask(ReRuns(option=option))  # type: ignore[arg-type]  # one of the table's


async def read(call: Call) -> bytes:
    """Forward a read. `reload` is for the reference server's cache: RE Manager does not know it."""
    params = call.params
    if isinstance(params, Reloadable) and params.reload is not msgspec.UNSET:
        params = msgspec.structs.replace(params, reload=msgspec.UNSET)
    return await call.ask(params)
