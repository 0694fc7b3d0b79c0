"""Cookies for browsers. Scripts cannot read the session cookie; the CSRF cookie is meant for them."""

import time
from http.cookies import Morsel

from sanic_qserver.api.call import Call

SESSION_COOKIE = "sanic_qserver_session"
CSRF_COOKIE = "sanic_qserver_csrf"
LOGIN_COOKIE = "sanic_qserver_login"


def cookie_text(call: Call, name: str, value: str, age_s: float, *, for_scripts: bool = False) -> str:
    """One `Set-Cookie`. SameSite=Lax: other sites' pages do not send it along with what changes something."""
    wanted, site = call.services.config.auth.browsers.secure_cookies, call.find_site()
    is_secure = wanted == "always" or (wanted == "auto" and site.scheme == "https")
    cookie = Morsel[str]()
    cookie.set(name, value, value)
    cookie.update({"path": site.prefix or "/", "max-age": str(int(age_s)), "samesite": "Lax"})
    cookie.update({name: "true" for name, is_set in (("httponly", not for_scripts), ("secure", is_secure)) if is_set})
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
    age_s = call.services.config.auth.browsers.cookie_s
    return (
        cookie_text(call, SESSION_COOKIE, value, age_s),
        cookie_text(call, CSRF_COOKIE, csrf, age_s, for_scripts=True),
    )


def no_cookies(call: Call) -> tuple[str, ...]:
    """Take both away."""
    return (cookie_text(call, SESSION_COOKIE, "", 0), cookie_text(call, CSRF_COOKIE, "", 0, for_scripts=True))
