"""The row `/`: what this server is, and how to log in. Old clients ping it: RE Manager's status stands beside."""

import msgspec

from sanic_qserver import __version__
from sanic_qserver.api.call import Call
from sanic_qserver.api.endpoint import Answer
from sanic_qserver.auth.logins import Logins
from sanic_qserver.auth.providers.provider import PasswordLogin
from sanic_qserver.errors import GatewayError
from sanic_qserver.scopes import Scope
from sanic_qserver.structs.auth_replies import AboutReply, ProviderInfo

_LINKS = {
    "whoami": "/api/auth/whoami",
    "scopes": "/api/auth/scopes",
    "refresh": "/api/auth/session/refresh",
    "revoke": "/api/auth/session/revoke/{session_id}",
    "api_key": "/api/auth/apikey",
    "logout": "/api/auth/logout",
    "ticket": "/api/auth/ticket",
    "openapi": "/openapi.json",
}


async def about(call: Call) -> bytes | Answer:
    """What this server is; RE Manager's status stands in front of it when there is one and the caller may read it."""
    ours = msgspec.json.encode(describe_logins(call.services.logins, call.find_site().prefix))
    if Scope.READ_STATUS not in call.access.scopes:
        return ours
    try:
        status = (await call.services.reads.coalesce("status", fairness_key=call.fairness_key)).strip()
    except GatewayError:
        return ours
    return ours if status == b"{}" else status[:-1] + b"," + ours[1:]


def describe_logins(logins: Logins, prefix: str) -> AboutReply:
    """How to log in here. `prefix`: of all paths."""
    providers = []
    for name, way in logins.ways.items():
        base = f"{prefix}/api/auth/provider/{name}"
        if isinstance(way, PasswordLogin):
            providers.append(
                ProviderInfo(provider=name, mode="password", title=way.title, links={"token": f"{base}/token"})
            )
        else:
            links = {key: f"{base}/{key}" for key in ("authorize", "token", "code", "device_code")}
            providers.append(ProviderInfo(provider=name, mode="external", title=way.title, links=links))
    return AboutReply(
        server="sanic_qserver",
        server_version=__version__,
        api_version=0,
        authentication={
            "required": logins.single_user is None,
            "single_user": logins.single_user is not None,
            "providers": providers,
        },
        links={name: prefix + path for name, path in _LINKS.items()},
    )
