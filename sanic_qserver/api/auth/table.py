"""The rows of `/auth/…`, a part of the endpoint table. All are served under `/api` only.

Rows with scope None are public, or ask for any credential at all and say so themselves (`whoami`, `revoke`).
Rows with `ignores_credential` are ways in: an expired token that comes along does not stand in the way.
"""

from sanic_qserver.api.around import AUDITED
from sanic_qserver.api.auth import api_keys, browser_login, login as auth
from sanic_qserver.api.endpoint import SMALL_BODY, Endpoint, ForeignForms
from sanic_qserver.scopes import Scope
from sanic_qserver.structs import auth_replies as replies, auth_requests as requests

_PROVIDER = "/auth/provider/<provider:str>"
_OTHERS = "/auth/principal/<uuid:str>"

# fmt: off
AUTH_ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("POST", f"{_PROVIDER}/token", None, "", requests.Login, serve=auth.token, reads_form=True,
             reply=replies.TokenReply, at_root=False, ignores_credential=True),
    Endpoint("GET", f"{_PROVIDER}/authorize", None, "", requests.Authorize, serve=browser_login.authorize,
             at_root=False, ignores_credential=True),
    Endpoint("POST", f"{_PROVIDER}/authorize", None, "", requests.DeviceStart, serve=browser_login.device_start,
             reply=replies.DeviceReply, at_root=False, ignores_credential=True),
    ForeignForms("GET", f"{_PROVIDER}/code", None, "", requests.Callback, serve=browser_login.callback,
             aliases=(("POST", f"{_PROVIDER}/code"),), reads_form=True, at_root=False, ignores_credential=True,
             max_body_bytes=4 * SMALL_BODY),
    Endpoint("GET", f"{_PROVIDER}/device_code", None, "", requests.DeviceForm, serve=browser_login.device_form,
             at_root=False, ignores_credential=True),
    Endpoint("POST", f"{_PROVIDER}/device_code", None, "", requests.DeviceForm, serve=browser_login.device_confirm,
             reads_form=True, at_root=False, ignores_credential=True),
    Endpoint("POST", "/auth/session/refresh", None, "", requests.Refresh, serve=auth.refresh,
             reply=replies.TokenReply, at_root=False, ignores_credential=True),
    Endpoint("DELETE", "/auth/session/revoke/<session_id:str>", None, "", requests.Revoke, serve=auth.revoke,
             around=(AUDITED,), reply=replies.DoneReply, at_root=False),
    Endpoint("POST", "/auth/apikey", Scope.USER_APIKEYS, "", requests.ApiKeyNew, serve=api_keys.make,
             around=(AUDITED,), reply=replies.NewApiKey, at_root=False),
    Endpoint("GET", "/auth/apikey", None, "", requests.ApiKeyShow, serve=api_keys.show,
             reply=replies.ApiKeyInfo, at_root=False),
    Endpoint("DELETE", "/auth/apikey", Scope.USER_APIKEYS, "", requests.ApiKeyDelete, serve=api_keys.delete,
             around=(AUDITED,), reply=replies.DoneReply, at_root=False),
    Endpoint("GET", "/auth/whoami", None, "", requests.Whoami, serve=auth.whoami,
             reply=replies.PrincipalInfo, at_root=False),
    Endpoint("GET", "/auth/scopes", None, "", requests.Scopes, serve=auth.scopes,
             reply=replies.ScopesReply, at_root=False),
    Endpoint("POST", "/auth/logout", None, "", requests.Logout, serve=auth.logout, around=(AUDITED,), at_root=False),
    Endpoint("POST", "/auth/ticket", None, "", requests.Ticket, serve=auth.ticket,
             reply=replies.TicketReply, at_root=False),
    Endpoint("POST", "/auth/cookie", None, "", requests.Cookie, serve=auth.cookie,
             reply=replies.CookieReply, at_root=False),
    Endpoint("GET", "/auth/principal", Scope.ADMIN_READ_PRINCIPALS, "", requests.PrincipalList,
             serve=api_keys.principals, at_root=False),
    Endpoint("POST", "/auth/principal", Scope.ADMIN_APIKEYS, "", requests.ServiceNew, serve=api_keys.add_service,
             around=(AUDITED,), reply=replies.PrincipalInfo, at_root=False),
    Endpoint("GET", _OTHERS, Scope.ADMIN_READ_PRINCIPALS, "", requests.PrincipalShow, serve=api_keys.principal,
             reply=replies.PrincipalInfo, at_root=False),
    Endpoint("POST", f"{_OTHERS}/apikey", Scope.ADMIN_APIKEYS, "", requests.ApiKeyNewFor, serve=api_keys.make_for,
             around=(AUDITED,), reply=replies.NewApiKey, at_root=False),
    Endpoint("DELETE", f"{_OTHERS}/apikey", Scope.ADMIN_APIKEYS, "", requests.ApiKeyDeleteFor,
             serve=api_keys.delete_for, around=(AUDITED,), reply=replies.DoneReply, at_root=False),
    Endpoint("DELETE", f"{_OTHERS}/session/<session_id:str>", Scope.ADMIN_APIKEYS, "", requests.RevokeFor,
             serve=api_keys.revoke_for, around=(AUDITED,), reply=replies.DoneReply, at_root=False),
)
# fmt: on
