"""The rows of API keys and of principals. A key never grants more than its creator holds."""

from typing import cast

from msgspec import structs

from sanic_qserver.api.auth.login import find_caller
from sanic_qserver.api.auth.session_opening import private
from sanic_qserver.api.call import Call
from sanic_qserver.api.endpoint import Answer
from sanic_qserver.auth.storage.records import INHERIT, Known
from sanic_qserver.errors import BadArguments, InvalidApiKey, NotAuthenticated, NotFound
from sanic_qserver.scopes import COVERED_BY_EDIT, Scope, listed
from sanic_qserver.structs import auth_requests as requests
from sanic_qserver.structs.auth_replies import ApiKeyInfo, DoneReply, PrincipalInfo
from sanic_qserver.structs.identity import SINGLE_USER, Access, Principal
from sanic_qserver.texts import Text


async def make(call: Call) -> Answer:
    """A key for the caller."""
    params = cast("requests.ApiKeyNew", call.params)
    caller, accounts = find_caller(call), call.services.logins.accounts
    scopes = within_credential(choose_scopes(params.scopes, call.access), call.access, caller)
    # A bearer token is a login of this moment: its groups and claims are fresh, those of a key or session are not.
    is_kept = caller.key_id or caller.session_id
    known = (await accounts.store.known(caller) if is_kept else None) or await accounts.store.remember(caller)
    return private(await accounts.keys.make(known, scopes, params.note, params.expires_in, _ends_at(call)))


async def make_for(call: Call) -> Answer:
    """A key for somebody else."""
    params = cast("requests.ApiKeyNewFor", call.params)
    logins = call.services.logins
    known = await _principal(call)
    access = logins.access_of(known.principal)
    scopes = within_credential(choose_scopes(params.scopes, access), access, find_caller(call))
    return private(await logins.accounts.keys.make(known, scopes, params.note, params.expires_in, _ends_at(call)))


def within_credential(scopes: tuple[str, ...], owner: Access, caller: Principal) -> tuple[str, ...]:
    """The scopes of a new key, less what the credential that makes it is not good for.

    Raises BadArguments for scopes that were asked for by name, and when nothing is left.
    """
    if caller.key_scopes is None:
        return scopes
    wanted = held_by(owner) if scopes == (INHERIT,) else set(scopes)
    excess = sorted(wanted - caller.key_scopes)
    if scopes != (INHERIT,) and excess:
        raise BadArguments(
            f"scopes: Requested scopes {excess} must be a subset of the scopes of the credential in use "
            f"{sorted(caller.key_scopes)}",
            extra={"field": "scopes"},
        )
    if not wanted & caller.key_scopes:
        raise BadArguments(
            "scopes: the credential in use is good for none of the owner's scopes: the key could do nothing",
            extra={"field": "scopes"},
        )
    return tuple(sorted(wanted & caller.key_scopes))


def held_by(access: Access) -> set[str]:
    """The scopes that somebody can hand on. The full right to edit holds those that it covers."""
    covered = COVERED_BY_EDIT if Scope.WRITE_QUEUE_EDIT in access.scopes else frozenset[Scope]()
    return {str(scope) for scope in access.scopes | covered}


def _ends_at(call: Call) -> float | None:
    """When a new key ends at the latest: with the credential that makes it, unless that is somebody's own login.

    A bearer token of the facility may make keys that outlive it, for holders of `admin:apikeys`.
    """
    caller = find_caller(call)
    may_outlive = not caller.key_id and call.access.holds(Scope.ADMIN_APIKEYS)
    return None if caller.session_id or may_outlive else caller.expires_at


def choose_scopes(wanted: list[str] | None, access: Access) -> tuple[str, ...]:
    """The scopes of a new key. Raises BadArguments for what does not exist or the owner does not hold."""
    if wanted is None or wanted == [INHERIT]:
        return (INHERIT,)
    known = {str(scope) for scope in Scope}
    if unknown := sorted(set(wanted) - known):
        raise BadArguments(f"scopes: there is no scope {', '.join(unknown)[:200]}", extra={"field": "scopes"})
    held = held_by(access)
    if excess := sorted(set(wanted) - held):
        raise BadArguments(
            f"scopes: Requested scopes {excess} {Text.TOO_MANY_SCOPES} {listed(access.scopes)}",
            extra={"field": "scopes"},
        )
    return tuple(sorted(set(wanted)))


async def show(call: Call) -> Answer:
    """The key in use."""
    caller = call.access.principal
    if caller == SINGLE_USER:
        return private(ApiKeyInfo(first_eight="", note="The one key of a server without logins", scopes=[INHERIT]))
    if not caller.key_id:
        raise InvalidApiKey(Text.NO_API_KEY)
    info = await call.services.logins.accounts.store.principal(caller.uuid)
    for key in info.api_keys:
        if key.first_eight == caller.key_id:
            return private(key)
    raise InvalidApiKey


async def delete(call: Call) -> Answer:
    """Take one of the caller's keys away."""
    caller = find_caller(call)
    return await _delete(call, cast("requests.ApiKeyDelete", call.params).first_eight, await _find_uuid(call, caller))


async def delete_for(call: Call) -> Answer:
    """Take somebody's key away."""
    return await _delete(call, cast("requests.ApiKeyDeleteFor", call.params).first_eight, call.path_args["uuid"])


async def _delete(call: Call, first_eight: str, owner_uuid: str) -> Answer:
    if not await call.services.logins.accounts.keys.delete(first_eight, owner_uuid):
        raise NotFound("There is no such API key")
    return private(DoneReply())


async def _find_uuid(call: Call, caller: Principal) -> str:
    if caller.uuid:
        return caller.uuid
    known = await call.services.logins.accounts.store.known(caller)
    return known.principal.uuid if known is not None else ""


async def principals(call: Call) -> Answer:
    """Everybody known."""
    params = cast("requests.PrincipalList", call.params)
    return private(await _told(call, await call.services.logins.accounts.store.principals(params.offset, params.limit)))


async def principal(call: Call) -> Answer:
    """Somebody known."""
    found = await call.services.logins.accounts.store.principal(call.path_args["uuid"])
    return private((await _told(call, [found]))[0])


async def _told(call: Call, infos: list[PrincipalInfo]) -> list[PrincipalInfo]:
    """The same of others as `whoami` tells of oneself: roles, scopes, and the session when it is the caller's own."""
    caller, logins = call.access.principal, call.services.logins
    known = await logins.accounts.store.find_logins([info.uuid for info in infos])
    told = []
    for info in infos:
        roles, scopes = _holdings(call, known.get(info.uuid))
        session = caller.session_id or None if info.uuid == caller.uuid else None
        told.append(structs.replace(info, roles=roles, scopes=scopes, session=session))
    return told


def _holdings(call: Call, principal: Principal | None) -> tuple[list[str], list[str]]:
    """Roles and scopes, none of either for one who may not enter now."""
    if principal is None:
        return [], []
    try:
        access = call.services.logins.access_of(principal)
    except NotAuthenticated:
        return [], []
    return sorted(access.roles), listed(access.scopes)


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
    return await call.services.logins.accounts.store.find_identity(call.path_args["uuid"])
