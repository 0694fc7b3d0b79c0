"""RE Manager as one caller may use it: every call passes the same scope check, stamp and hooks as over HTTP."""

from dataclasses import replace
from typing import Any

import msgspec

from sanic_qserver.api.call import Call
from sanic_qserver.api.endpoint import bytes_of, stamped
from sanic_qserver.errors import BadArguments, ScopeMissing


class CallerManager:
    """Calls RE Manager for the caller of a request, with that caller's permissions and name."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def request(self, method: str, **params: Any) -> dict[str, Any]:
        """RE Manager's reply to a method that the server's own table has.

        Raises ScopeMissing (403) when the caller may not do this over HTTP either, BadArguments (400) for wrong
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
        # Without the headers: an Idempotency-Key is one of the whole request, not of each call made for it.
        call = replace(self._call, endpoint=row, params=sent, headers={}, unknown={}, files={}, path_args={})
        answer = await row.serve(call)
        reply: dict[str, Any] = msgspec.json.decode(bytes_of(answer))
        return reply
