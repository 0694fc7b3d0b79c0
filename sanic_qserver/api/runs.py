"""The rows that only read: joined, and kept where RE Manager has a uid for it."""

import msgspec

from sanic_qserver.api.call import Call
from sanic_qserver.manager.bodies import Body
from sanic_qserver.structs.requests import Reloadable, ReRuns


async def status(call: Call) -> bytes:
    """RE Manager's status, asked for after the caller asked."""
    return await call.services.reads.coalesce("status", fairness_key=call.fairness_key)


async def re_runs_fixed(call: Call) -> Body:
    """The runs that the last part of the path names."""
    option = call.endpoint.path.rsplit("/", 1)[1]
    params = ReRuns(option=option)  # one of the table's
    return await call.services.reads.read("re_runs", params, fairness_key=call.fairness_key)


async def read(call: Call) -> bytes | Body:
    """A read. `reload` is for the reference server's cache of stale replies; every read here is fresh."""
    params = call.params
    if isinstance(params, Reloadable) and params.reload is not msgspec.UNSET:
        params = msgspec.structs.replace(params, reload=msgspec.UNSET)
    if call.unknown:
        return await call.ask(params)
    return await call.services.reads.read(call.endpoint.method, params, fairness_key=call.fairness_key)
