"""Cookies for browsers. Scripts cannot read the session cookie; the CSRF cookie is meant for them."""

import time
from collections.abc import Mapping
from http.cookies import Morsel

from sanic_qserver.api.call import Call

SESSION_COOKIE = "sanic_qserver_session"
CSRF_COOKIE = "sanic_qserver_csrf"
LOGIN_COOKIE = "sanic_qserver_login"


def find_base_url(call: Call) -> str:
    """The address that the client knows this server by. Forwarded headers count only behind configured proxies."""
    proxies_count = call.services.config.server.proxies_count
    scheme = "http"
    if proxies_count and call.headers.get("x-forwarded-proto", "").split(",")[-1].strip().lower() == "https":
        scheme = "https"
    return f"{scheme}://{find_host(call.headers, proxies_count) or 'localhost'}"


def find_host(headers: Mapping[str, str], proxies_count: int) -> str:
    """The host that the client asked for. For callers without a key the gate lets in only names of this server."""
    if proxies_count and (forwarded := headers.get("x-forwarded-host")):
        return forwarded.split(",")[-1].strip()
    return headers.get("host", "")


def is_secure(call: Call) -> bool:
    """Whether cookies are for TLS only."""
    wanted = call.services.config.auth.browsers.secure_cookies
    return wanted == "always" or (wanted == "auto" and find_base_url(call).startswith("https:"))


def cookie_text(name: str, value: str, age_s: float, *, for_scripts: bool = False, secure: bool = False) -> str:
    """One `Set-Cookie`. SameSite=Lax: other sites' pages do not send it along with what changes something."""
    cookie = Morsel[str]()
    cookie.set(name, value, value)
    cookie.update({"path": "/", "max-age": str(int(age_s)), "samesite": "Lax"})
    cookie.update({name: "true" for name, is_set in (("httponly", not for_scripts), ("secure", secure)) if is_set})
    return cookie.OutputString()


def build_cookies(call: Call, session: str) -> tuple[str, ...]:
    """The cookies of a session."""
    value, csrf = call.services.logins.accounts.sessions.cookie(session)
    return _pair(call, value, csrf)


def single_user_cookies(call: Call) -> tuple[str, tuple[str, ...]]:
    """The CSRF value and the cookies of a browser that has shown the server's one key."""
    logins = call.services.logins
    assert logins.single_user is not None  # noqa: S101  # asked only there
    value = logins.single_user.cookie(time.time() + logins.config.auth.browsers.cookie_s)
    csrf = logins.single_user.csrf(value)
    return csrf, _pair(call, value, csrf)


def _pair(call: Call, value: str, csrf: str) -> tuple[str, ...]:
    age_s, secure = call.services.config.auth.browsers.cookie_s, is_secure(call)
    return (
        cookie_text(SESSION_COOKIE, value, age_s, secure=secure),
        cookie_text(CSRF_COOKIE, csrf, age_s, for_scripts=True, secure=secure),
    )


def no_cookies() -> tuple[str, ...]:
    """Take both away."""
    return (cookie_text(SESSION_COOKIE, "", 0), cookie_text(CSRF_COOKIE, "", 0, for_scripts=True))
