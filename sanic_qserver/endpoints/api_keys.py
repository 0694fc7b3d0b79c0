"""The rows of API keys and of principals. A key never may more than the credential it was made with."""

from typing import cast

from sanic_qserver.auth.records import INHERIT, Known
from sanic_qserver.endpoints.auth import caller_of
from sanic_qserver.endpoints.endpoint import Answer, Call
from sanic_qserver.endpoints.session_opening import private
from sanic_qserver.errors import BadArguments, InvalidApiKey, NotFound
from sanic_qserver.scopes import Scope
from sanic_qserver.structs import auth_requests as requests
from sanic_qserver.structs.auth_replies import ApiKeyInfo, DoneReply
from sanic_qserver.structs.identity import SINGLE_USER, Access, Principal


async def make(call: Call) -> Answer:
    """A key for the caller."""
    params = cast("requests.ApiKeyNew", call.params)
    caller, accounts = caller_of(call), call.services.logins.accounts
    scopes = scopes_of(params.scopes, call.access)
    if scopes == (INHERIT,) and caller.key_scopes is not None:
        scopes = tuple(sorted(caller.key_scopes))
    age_s = params.expires_in
    if caller.key_id and caller.expires_at is not None:  # A key does not outlive the key that made it.
        left_s = max(caller.expires_at - call.services.logins.clock(), 0.0)
        age_s = left_s if age_s is None else min(age_s, left_s)
    known = await accounts.store.known(caller) or await accounts.store.remember(caller)
    return private(await accounts.keys.make(known, scopes, params.note, age_s))


async def make_for(call: Call) -> Answer:
    """A key for somebody else."""
    params = cast("requests.ApiKeyNewFor", call.params)
    logins = call.services.logins
    known = await _principal(call)
    scopes = scopes_of(params.scopes, logins.access_of(known.principal))
    return private(await logins.accounts.keys.make(known, scopes, params.note, params.expires_in))


def scopes_of(wanted: list[str] | None, access: Access) -> tuple[str, ...]:
    """The scopes of a new key. Raises BadArguments for what does not exist or the owner does not hold."""
    if wanted is None or wanted == [INHERIT]:
        return (INHERIT,)
    known = {str(scope) for scope in Scope}
    if unknown := sorted(set(wanted) - known):
        raise BadArguments(f"scopes: there is no scope {', '.join(unknown)[:200]}", extra={"field": "scopes"})
    held = {str(scope) for scope in access.scopes}
    if Scope.WRITE_QUEUE_EDIT in access.scopes:
        held.add(Scope.WRITE_QUEUE_EDIT_OWN)
    if excess := sorted(set(wanted) - held):
        raise BadArguments(
            f"scopes: Requested scopes {excess} must be a subset of the principal's scopes {sorted(held)}",
            extra={"field": "scopes"},
        )
    return tuple(sorted(set(wanted)))


async def show(call: Call) -> Answer:
    """The key in use."""
    caller = caller_of(call)
    if caller == SINGLE_USER:
        return private(ApiKeyInfo(first_eight="", note="The one key of a server without logins", scopes=[INHERIT]))
    if not caller.key_id:
        raise InvalidApiKey("Invalid API key: this request carries none")
    info = await call.services.logins.accounts.store.principal(caller.uuid)
    for key in info.api_keys:
        if key.first_eight == caller.key_id:
            return private(key)
    raise InvalidApiKey


async def delete(call: Call) -> Answer:
    """Take one of the caller's keys away."""
    caller = caller_of(call)
    return await _delete(call, cast("requests.ApiKeyDelete", call.params).first_eight, await _uuid_of(call, caller))


async def delete_for(call: Call) -> Answer:
    """Take somebody's key away."""
    return await _delete(call, cast("requests.ApiKeyDeleteFor", call.params).first_eight, call.path_args["uuid"])


async def _delete(call: Call, first_eight: str, owner_uuid: str) -> Answer:
    if not await call.services.logins.accounts.keys.delete(first_eight, owner_uuid):
        raise NotFound("There is no such API key")
    return private(DoneReply())


async def _uuid_of(call: Call, caller: Principal) -> str:
    if caller.uuid:
        return caller.uuid
    known = await call.services.logins.accounts.store.known(caller)
    return known.principal.uuid if known is not None else ""


async def principals(call: Call) -> Answer:
    """Everybody known."""
    params = cast("requests.PrincipalList", call.params)
    return private(await call.services.logins.accounts.store.principals(params.offset, params.limit))


async def principal(call: Call) -> Answer:
    """Somebody known."""
    return private(await call.services.logins.accounts.store.principal(call.path_args["uuid"]))


async def add_service(call: Call) -> Answer:
    """A service account."""
    params = cast("requests.ServiceNew", call.params)
    store = call.services.logins.accounts.store
    return private(await store.principal(await store.add_service(params.name, params.note)), status=201)


async def revoke_for(call: Call) -> Answer:
    """End somebody's session."""
    args = call.path_args
    if not await call.services.logins.accounts.sessions.revoke(args["session_id"], args["uuid"]):
        raise NotFound("They have no open session of this id")
    return private(DoneReply())


async def _principal(call: Call) -> Known:
    return await call.services.logins.accounts.store.identity_of(call.path_args["uuid"])
