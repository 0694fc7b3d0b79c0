"""RE Manager with the permissions of one caller: the scope checks, stamps and hooks are those of HTTP."""

from dataclasses import replace
from typing import Any

import msgspec

from sanic_qserver.api.call import Call
from sanic_qserver.api.endpoint import get_json, stamped
from sanic_qserver.errors import BadArguments, ScopeMissing
from sanic_qserver.manager.replies import decode_reply


class CallerManager:
    """Calls RE Manager with the permissions and the name of the caller of a request."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def request(self, method: str, **params: Any) -> dict[str, Any]:
        """RE Manager's reply to a method that has a row.

        Raises ScopeMissing (403) when the caller may not do this over HTTP, BadArguments (400) for invalid
        params, and what the RE Manager client raises. A refused operation is a reply with `success` False.
        """
        plain = (row for row in self._call.services.rows if row.method == method and not row.inside)
        row = next(plain, None)
        if row is None or not method:
            raise BadArguments(f"method: RE Manager's method '{method}' has no endpoint")
        scopes = self._call.access.scopes
        if row.scope is not None and row.scope not in scopes and not scopes.intersection(row.any_scope):
            raise ScopeMissing(
                f"Not enough permissions. '{method}' requires scopes ['{row.scope}']",
                extra={"missing_scope": str(row.scope)},
            )
        try:
            decoded = msgspec.convert(params, row.params)
        except msgspec.ValidationError as error:
            raise BadArguments(f"{method}: {error}") from None
        access = self._call.access
        sent = stamped(decoded, row.stamp, access)
        # Without headers: an Idempotency-Key belongs to the whole request, not to each call that it makes.
        call = replace(self._call, endpoint=row, params=sent, headers={}, unknown={}, files={}, path_args={})
        answer = await row.serve(call)
        return decode_reply(get_json(answer))
