"""The rows of external providers: to the provider and back with a browser, for the browser itself or for a terminal.

A login is bound to the browser that began it (a cookie holds its state), so that nobody can be made to finish
somebody else's. A terminal's login is confirmed by a person who types, or sends off, the code that it shows.

A terminal that listens on the loopback interface (RFC 8252) gets its login back by a redirect: the browser brings it a
code, good once, within `RETURN_S`, at the address that began, and only together with the device code, which no browser
ever sees. So what stands in the URL is worth nothing by itself, and a login that somebody was lured into finishing
leads to their own machine.
"""

import html
import re
import secrets
from typing import Any, cast
from urllib.parse import quote, urlencode

import msgspec

from sanic_qserver.api.auth.cookies import LOGIN_COOKIE, build_cookies, cookie_text
from sanic_qserver.api.auth.session_opening import NO_STORE, open_session, private
from sanic_qserver.api.call import Call
from sanic_qserver.api.endpoint import Answer
from sanic_qserver.auth.logins import new_secret
from sanic_qserver.auth.providers.provider import ExternalLogin
from sanic_qserver.errors import BadArguments, GatewayError, LoginRefused, NotAuthenticated, NotFound
from sanic_qserver.structs import auth_requests as requests
from sanic_qserver.structs.auth_replies import DeviceReply
from sanic_qserver.structs.canonical import find_network
from sanic_qserver.structs.identity import Principal

PENDING_S = 600.0
RETURN_S = 60.0
POLL_S = 5
# A port that needs no privilege, of this machine by number: a name may be made to mean another one.
_LOOPBACK = re.compile(r"http://(?:127\.0\.0\.1|\[::1\]):([1-9][0-9]{3,4})/[A-Za-z0-9_-]{0,128}").fullmatch
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # No vowels, so no words; RFC 8628, section 6.1.
# Browsers drop control characters and take a backslash for a slash: what begins with two is another server's.
_LOCAL = re.compile(r"/(?!/)[^\x00-\x20\x7f\\]*").fullmatch
_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Log in</title>
<style>body{{font:16px/1.5 sans-serif;max-width:30rem;margin:3rem auto;padding:0 1rem}}
input,button{{font:inherit;padding:.4rem}}</style></head><body><h1>Log in</h1>{body}</body></html>"""
_FORM = """<p>{notice}Enter the code that your terminal shows. Go on only if you have started this login yourself.</p>
<form method="post" action="device_code"><input name="user_code" value="{code}" autocomplete="off" autofocus
 aria-label="Code"> <button>Continue</button></form>"""
_HEADERS = {
    **NO_STORE,
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # With less, Chromium sends `Origin: null` along with the form,
}


class AuthorizationPending(BadArguments):
    """The person has not finished yet. Clients of the device flow look for the word."""

    code, title = "authorization_pending", "authorization_pending"


async def authorize(call: Call) -> Answer:
    """Send the browser to the provider."""
    goal = cast("requests.Authorize", call.params).next
    if goal and not _LOCAL(goal):
        raise BadArguments("next: this must be a path of this server", extra={"field": "next"})
    return await _to_provider(call, {"next": goal})


async def device_start(call: Call) -> Answer:
    """Begin a terminal's login."""
    name, back_to = _way(call).name, cast("requests.DeviceStart", call.params).redirect_uri
    if back_to and not _is_loopback(back_to):
        text = "redirect_uri: this must be http://127.0.0.1:PORT/PATH or http://[::1]:PORT/PATH, from port 1024 on"
        raise BadArguments(text, extra={"field": "redirect_uri"})
    call.services.logins.begun.begin(call.address)
    one_time, expires_at = call.services.logins.accounts.one_time, call.services.logins.clock() + PENDING_S
    device_code, handle = secrets.token_hex(32), new_secret()
    letters = "".join(secrets.choice(_LETTERS) for _ in range(8))
    value = {"provider": name, "handle": handle, "back_to": back_to, "address": find_network(call.address)}
    await one_time.put("device", device_code, value, expires_at)
    await one_time.put("user_code", letters, value, expires_at)
    user_code = f"{letters[:4]}-{letters[4:]}"
    uri = f"{call.find_site().base_url}/api/auth/provider/{name}/device_code"
    complete = f"{uri}?user_code={user_code}"
    return private(
        DeviceReply(
            authorization_uri=complete,
            verification_uri=uri,
            verification_uri_complete=complete,
            user_code=user_code,
            device_code=device_code,
            interval=POLL_S,
            expires_in=PENDING_S,
        )
    )


async def device_form(call: Call) -> Answer:
    """The page on which a person enters the terminal's code."""
    return _form(cast("requests.DeviceForm", call.params).user_code)


async def device_confirm(call: Call) -> Answer:
    """Send the person who entered the code to the provider."""
    name, accounts = _way(call).name, call.services.logins.accounts
    letters = cast("requests.DeviceForm", call.params).user_code.replace("-", "").strip().upper()
    async with accounts.attempts.reserve(name, None, call.address) as attempt:
        found = await accounts.one_time.look("user_code", letters)
        attempt.is_good = found is not None and found["provider"] == name
    if found is None or not attempt.is_good:
        return _form("", "That code is not known, or too old. ", 404)
    await accounts.one_time.take("user_code", letters)
    return await _to_provider(call, {"handle": found["handle"], "back_to": found.get("back_to", "")})


async def device_token(call: Call, device_code: str, code: str) -> Answer:
    """Tokens for the terminal, when the person has finished. `code`: what the browser brought, if it was to."""
    accounts = call.services.logins.accounts
    try:
        bytes.fromhex(device_code)
    except ValueError:
        raise NotAuthenticated("device_code: this is not a device code") from None
    found = await accounts.one_time.look("device", device_code)
    if not device_code or found is None or found["provider"] != call.path_args["provider"]:
        raise NotFound("This device code is not known, or too old")
    is_brought = bool(found.get("back_to"))
    done = await (_take_brought(call, found, code) if is_brought else accounts.one_time.take("done", found["handle"]))
    if done is None:
        raise AuthorizationPending("authorization_pending", extra={"error": "authorization_pending"})
    await accounts.one_time.take("device", device_code)
    _, reply = await open_session(call, msgspec.convert(done, Principal))
    return private(reply)


async def _take_brought(call: Call, found: dict[str, Any], code: str) -> dict[str, Any]:
    """Who logged in, for the code that the browser brought to the terminal."""
    if not code:
        raise BadArguments("code: this login ends with the code that the browser brings", extra={"field": "code"})
    if find_network(call.address) != found["address"]:
        raise LoginRefused("Authentication failure: this login was begun at another address")
    done = await call.services.logins.accounts.one_time.take("done", f"{found['handle']}.{code}")
    if done is None:
        raise LoginRefused("Authentication failure: this code is not known, too old, or was used before")
    return done


async def callback(call: Call) -> Answer:
    """Take the person who comes back from the provider."""
    params = cast("requests.Callback", call.params)
    way, accounts = _way(call), call.services.logins.accounts
    if params.saml_response:
        return await _from_form(call, params)
    pending = await accounts.one_time.take("login", params.state) if params.state else None
    bound = _cookie(call, LOGIN_COOKIE)
    if pending is None or pending["provider"] != way.name or not secrets.compare_digest(bound, pending["bound"]):
        raise LoginRefused("Authentication failure: this login was not begun in this browser, or is too old")
    gone = cookie_text(call, LOGIN_COOKIE, "", 0)
    if pending.get("back_to"):
        return await _to_terminal(call, way, params, pending, gone)
    principal = await _finished(way, params, pending)
    if handle := pending.get("handle"):
        call.services.logins.access_of(principal)
        value: Any = msgspec.to_builtins(principal)
        await accounts.one_time.put("done", handle, value, call.services.logins.clock() + PENDING_S)
        return _page("<p>You are logged in. You may close this page and go back to your terminal.</p>", cookies=(gone,))
    session, reply = await open_session(call, principal)
    if goal := pending.get("next"):
        return Answer(b"", 303, headers={**NO_STORE, "Location": goal}, cookies=(*build_cookies(call, session), gone))
    return private(reply.refresh_token, (gone,))


async def _to_terminal(
    call: Call, way: ExternalLogin, params: "requests.Callback", pending: dict[str, Any], cookie: str
) -> Answer:
    """Send the browser to the terminal that listens, with a code, or with the reason why there is none."""
    logins, code = call.services.logins, new_secret()
    try:
        principal = await _finished(way, params, pending)
        logins.access_of(principal)
    except GatewayError as error:
        kind = "access_denied" if isinstance(error, NotAuthenticated) else "temporarily_unavailable"
        query = {"error": kind, "error_description": error.detail}
    else:
        value: Any = msgspec.to_builtins(principal)
        await logins.accounts.one_time.put("done", f"{pending['handle']}.{code}", value, logins.clock() + RETURN_S)
        query = {"code": code}
    headers = {**NO_STORE, "Referrer-Policy": "no-referrer", "Location": f"{pending['back_to']}?{urlencode(query)}"}
    return Answer(b"", 303, headers=headers, cookies=(cookie,))


async def _from_form(call: Call, params: "requests.Callback") -> Answer:
    """Take the form that a provider's page sends, and go on as a page of ours.

    It comes from another site, so without our cookies: whose browser it is shows only after the redirect to a GET,
    which carries them. The form itself counts by its signature, and once, for the login whose state it brings.
    """
    way, logins = _way(call), call.services.logins
    if not getattr(way, "takes_form", False) or "SAMLResponse=" in call.query:
        raise LoginRefused("Authentication failure: this provider does not answer with a form")
    pending = await logins.accounts.one_time.take("login", params.relay_state) if params.relay_state else None
    if pending is None or pending["provider"] != way.name or "principal" in pending:
        raise LoginRefused("Authentication failure: this login was not begun here, or is too old")
    found = await way.finish(
        code=params.saml_response,
        redirect_uri=pending["redirect_uri"],
        nonce=pending["nonce"],
        verifier=pending["verifier"],
    )
    state = new_secret()
    pending["principal"] = msgspec.to_builtins(found)
    await logins.accounts.one_time.put("login", state, pending, logins.clock() + RETURN_S)
    return Answer(b"", 303, headers={**NO_STORE, "Location": f"{pending['redirect_uri']}?state={state}"})


async def _finished(way: ExternalLogin, params: "requests.Callback", pending: dict[str, Any]) -> Principal:
    if "principal" in pending:
        return msgspec.convert(pending["principal"], Principal)
    if params.error or not params.code or getattr(way, "takes_form", False):
        raise LoginRefused(f"Authentication failure: {params.error[:100] or 'the provider sent no code'}")
    return await way.finish(
        code=params.code, redirect_uri=pending["redirect_uri"], nonce=pending["nonce"], verifier=pending["verifier"]
    )


async def _to_provider(call: Call, more: dict[str, str]) -> Answer:
    way, logins = _way(call), call.services.logins
    logins.begun.begin(call.address)
    state, nonce, verifier, bound = (new_secret() for _ in range(4))
    redirect_uri = _redirect_uri(call, way)
    url = await way.authorize_url(redirect_uri=redirect_uri, state=state, nonce=nonce, verifier=verifier)
    value = {
        "provider": way.name, "redirect_uri": redirect_uri, "nonce": nonce, "verifier": verifier, "bound": bound,
        **more,
    }  # fmt: skip
    await logins.accounts.one_time.put("login", state, value, logins.clock() + PENDING_S)
    cookie = cookie_text(call, LOGIN_COOKIE, bound, PENDING_S)
    return Answer(
        b"", 303 if call.endpoint.verb == "POST" else 302, headers={**NO_STORE, "Location": url}, cookies=(cookie,)
    )


def _is_loopback(address: str) -> bool:
    found = _LOOPBACK(address)
    return found is not None and 1024 <= int(found[1]) <= 65535


def _redirect_uri(call: Call, way: ExternalLogin) -> str:
    configured: str = getattr(way, "redirect_uri", "")
    return configured or f"{call.find_site().base_url}/api/auth/provider/{quote(way.name)}/code"


def _way(call: Call) -> ExternalLogin:
    way = call.services.logins.way(call.path_args["provider"])
    if not isinstance(way, ExternalLogin):
        raise NotFound(f"The provider '{way.name}' takes name and password: POST /api/auth/provider/{way.name}/token")
    return way


def _cookie(call: Call, name: str) -> str:
    for part in call.headers.get("cookie", "").split(";"):
        found, _, value = part.strip().partition("=")
        if found == name:
            return value
    return ""


def _form(code: str, notice: str = "", status: int = 200) -> Answer:
    return _page(_FORM.format(code=html.escape(code), notice=html.escape(notice)), status)


def _page(body: str, status: int = 200, cookies: tuple[str, ...] = ()) -> Answer:
    content = _PAGE.format(body=body).encode()
    return Answer(content, status, "text/html; charset=utf-8", headers=_HEADERS, cookies=cookies)


def refusal_page(error: GatewayError) -> Answer:
    """What a person sees whose login was refused."""
    text = f"<p>{html.escape(error.title)}: {html.escape(error.detail)}</p>"
    return _page(text + "<p>Begin again, or ask whoever runs this server.</p>", error.status)
