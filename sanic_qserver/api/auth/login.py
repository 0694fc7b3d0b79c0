"""The rows of login: tokens, sessions, the current caller. How people log in is up to the providers."""

import re
from typing import Any, cast
from uuid import UUID, uuid5

import msgspec

from sanic_qserver.api.auth.browser_login import device_token
from sanic_qserver.api.auth.cookies import build_cookies, no_cookies, single_user_cookies
from sanic_qserver.api.auth.session_opening import NO_STORE, open_session, private
from sanic_qserver.api.call import Call
from sanic_qserver.api.endpoint import Answer
from sanic_qserver.auth.logins import new_secret
from sanic_qserver.auth.providers.provider import PasswordLogin
from sanic_qserver.errors import (
    BadArguments,
    Forbidden,
    LoginRefused,
    NotAuthenticated,
    NotFound,
    ScopeMissing,
)
from sanic_qserver.scopes import Scope, listed
from sanic_qserver.structs import auth_requests as requests
from sanic_qserver.structs.auth_replies import (
    CookieReply,
    DoneReply,
    IdentityInfo,
    PrincipalInfo,
    ScopesReply,
    TicketReply,
)
from sanic_qserver.structs.identity import PUBLIC, SINGLE_USER, Principal
from sanic_qserver.texts import Text

_STATELESS = UUID("6f6b0b0e-3d5c-4c7e-9a62-2f7f5f7d9b10")  # The namespace of those who have no record.
_LINE = re.compile(r"[\x00-\x1f\x7f]")


def find_caller(call: Call) -> Principal:
    """Who asks. Raises NotAuthenticated for the public."""
    if call.access.principal == PUBLIC:
        raise NotAuthenticated(f"{Text.NOT_ENOUGH_PERMISSIONS}. Send an API key or an access token")
    return call.access.principal


def may_see_sessions(caller: Principal) -> bool:
    """Whether a credential is good for its owner's sessions and keys: a key that is limited to other things is not."""
    return caller.key_scopes is None or Scope.USER_APIKEYS in caller.key_scopes


async def token(call: Call) -> Answer:
    """Name and password, or a device code, for tokens."""
    params = cast("requests.Login", call.params)
    logins = call.services.logins
    way = logins.way(call.path_args["provider"])
    if not isinstance(way, PasswordLogin):
        return await device_token(call, params.device_code, params.code)
    if "password=" in call.query:
        raise BadArguments("username, password: send them in the body, never in the URL", extra={"field": "password"})
    if not params.username or not params.password or _LINE.search(params.username):
        raise LoginRefused
    async with logins.accounts.attempts.reserve(way.name, params.username, call.address) as attempt:
        principal = await way.login(params.username, params.password)
        attempt.is_good = principal is not None
    if principal is None:
        raise LoginRefused
    session, reply = await open_session(call, principal)
    return private(reply, build_cookies(call, session) if params.cookie else ())


async def refresh(call: Call) -> Answer:
    """New tokens for a refresh token."""
    params = cast("requests.Refresh", call.params)
    logins = call.services.logins
    principal, reply = await logins.accounts.sessions.refresh(params.refresh_token)
    try:
        logins.access_of(principal)
    except NotAuthenticated:
        raise NotAuthenticated(
            "Permissions for the user are revoked or the user is not authorized to access the server"
        ) from None
    return private(reply)


async def revoke(call: Call) -> Answer:
    """End one of the caller's sessions."""
    caller = find_caller(call)
    if not may_see_sessions(caller):
        raise ScopeMissing(
            f"Not enough permissions. Requires scopes ['{Scope.USER_APIKEYS}'] to end its owner's sessions",
            extra={"missing_scope": str(Scope.USER_APIKEYS)},
        )
    logins = call.services.logins
    done = logins.has_accounts and await logins.accounts.sessions.revoke(call.path_args["session_id"], caller.uuid)
    if not done:
        raise NotFound(f"This session is not open, or the {Text.NOT_YOUR_SESSION}")
    return private(DoneReply())


async def logout(call: Call) -> Answer:
    """End the session in use, take the cookies away."""
    principal, logins = call.access.principal, call.services.logins
    if principal.session_id and logins.has_accounts:
        await logins.accounts.sessions.revoke(principal.session_id)
    return Answer(b"{}", headers=NO_STORE, cookies=no_cookies(call))


async def whoami(call: Call) -> Answer:
    """The caller's record, or what is known of one who has none."""
    caller, logins = find_caller(call), call.services.logins
    info = PrincipalInfo(
        uuid=str(uuid5(_STATELESS, f"{caller.provider}\0{caller.name}")),
        type="service" if caller.is_service else "user",
        identities=[IdentityInfo(id=caller.name, provider=caller.provider)],
        api_keys=[],
        sessions=[],
    )
    if logins.has_accounts:
        known = await logins.accounts.store.known(caller)
        if known is not None:
            info = await logins.accounts.store.principal(known.principal.uuid)
    if not may_see_sessions(caller):
        own = [key for key in info.api_keys if key.first_eight == caller.key_id]
        info = msgspec.structs.replace(info, api_keys=own, sessions=[])
    return private(
        msgspec.structs.replace(
            info,
            roles=sorted(call.access.roles),
            scopes=listed(call.access.scopes),
            api_key_scopes=sorted(caller.key_scopes) if caller.key_scopes is not None else None,
            api_key=caller.key_id or None,
            session=caller.session_id or None,
        )
    )


async def scopes(call: Call) -> Answer:
    """Roles and scopes of the caller, who may be the public."""
    access = call.access
    is_nobody = access.principal == PUBLIC and not access.scopes
    return private(ScopesReply(roles=[] if is_nobody else sorted(access.roles), scopes=listed(access.scopes)))


async def ticket(call: Call) -> Answer:
    """A ticket that stands for the caller's credential, once and soon."""
    caller, logins = find_caller(call), call.services.logins
    secret, age_s = new_secret(), logins.config.auth.browsers.ticket_s
    value: dict[str, Any] = msgspec.to_builtins(caller)
    await logins.one_time.put("ticket", secret, value, logins.clock() + age_s)
    return private(TicketReply(ticket=secret, expires_in=age_s))


async def cookie(call: Call) -> Answer:
    """Cookies for a browser that has shown a token or a key."""
    caller, logins = find_caller(call), call.services.logins
    age_s = logins.config.auth.browsers.cookie_s
    if caller == SINGLE_USER and logins.single_user is not None:
        csrf, cookies = single_user_cookies(call)
        return private(CookieReply(csrf_token=csrf, expires_in=age_s), cookies)
    if caller.key_scopes is not None:
        raise Forbidden("A key that is limited to some scopes cannot be turned into a session")
    if caller.key_id:
        raise Forbidden("An API key cannot be turned into a session: log in")
    session = caller.session_id or (await open_session(call, caller, ends_at=caller.expires_at))[0]
    csrf = logins.accounts.sessions.derive_csrf(session)
    return private(CookieReply(csrf_token=csrf, expires_in=age_s), build_cookies(call, session))
