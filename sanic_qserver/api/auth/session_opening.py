"""Opens a session at the end of every login, if the policy grants access."""

import logging

import msgspec

from sanic_qserver.api.call import Call
from sanic_qserver.api.endpoint import Answer
from sanic_qserver.structs.auth_replies import TokenReply
from sanic_qserver.structs.identity import Principal

log = logging.getLogger("sanic_qserver.auth")

NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


def private(body: object, cookies: tuple[str, ...] = (), status: int = 200) -> Answer:
    """An answer that no cache may keep."""
    return Answer(msgspec.json.encode(body), status, headers=NO_STORE, cookies=cookies)


async def open_session(call: Call, principal: Principal, ends_at: float | None = None) -> tuple[str, TokenReply]:
    """A session for somebody who has just proved who they are. It ends at `ends_at` (POSIX) at the latest.

    Raises NotAuthenticated for one who may not enter.
    """
    logins = call.services.logins
    logins.access_of(principal)
    known = await logins.accounts.store.remember(principal)
    log.info("%s:%s logged in from %s, request %s", principal.provider, principal.name, call.address, call.request_id)
    return await logins.accounts.sessions.open(known, ends_at)
