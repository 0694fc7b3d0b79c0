"""Logins that a person makes in a browser: brought back to this machine by a redirect, or elsewhere with a code.

What the browser brings is a code that is good once, for a minute, and only beside the device code, which stays here. It
comes to a path that nobody can guess, so that what else calls at the port changes nothing.
"""

import contextlib
import queue
import secrets
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from sanic_qserver.client.failures import Failure, NotPermitted
from sanic_qserver.client.options import environment
from sanic_qserver.client.runtime import Runtime
from sanic_qserver.client.session import Session

_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
_TICK_S = 0.2
_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
_PAGE = '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>qsctl</title></head><body>{}</body></html>'
_DONE = "Go back to your terminal: it says how the login ended. You may close this page."


def can_open_browser(variables: Mapping[str, str]) -> bool:
    """Whether there is a browser with a screen: one in the terminal would get in the way."""
    return sys.platform in {"darwin", "win32"} or any(variables.get(name) for name in _DISPLAYS)


def log_in_by_browser(run: Runtime, session: Session, provider: str, *, elsewhere: bool) -> dict[str, Any]:
    """The tokens of a login in a browser: here, or `elsewhere` with the code that is shown."""
    if not elsewhere and can_open_browser(environment()):
        return _by_redirect(run, session, provider)
    if not elsewhere:
        run.out.note("No browser can be opened here. Use one on any machine:")
    return _by_device_code(run, session, provider)


def _by_redirect(run: Runtime, session: Session, provider: str) -> dict[str, Any]:
    import webbrowser

    with _listening() as (redirect_uri, brought):
        started = session.call("POST", f"/auth/provider/{provider}/authorize", body={"redirect_uri": redirect_uri})
        address, code = _find_page(session, provider), started["user_code"]
        run.out.note(f"A browser opens {address} and shows the code {code}")
        run.out.note("If none does, open that address in one on this machine; on another machine: --device-code")
        threading.Thread(target=webbrowser.open, args=(f"{address}?user_code={code}",), daemon=True).start()
        told = _wait(brought, float(started["expires_in"]))
    if "code" not in told:
        raise NotPermitted(told.get("error_description") or told.get("error") or "No code came back", "Begin again.")
    body = {"device_code": started["device_code"], "code": told["code"]}
    return session.call("POST", f"/auth/provider/{provider}/token", body=body)


def _by_device_code(run: Runtime, session: Session, provider: str) -> dict[str, Any]:
    """The end of the login is asked for until it is there."""
    started = session.call("POST", f"/auth/provider/{provider}/authorize", body={})
    run.out.note(f"Log in at {_find_page(session, provider)} with the code {started['user_code']}")
    until = time.monotonic() + float(started["expires_in"])
    while time.monotonic() < until:
        time.sleep(float(started["interval"]))
        try:
            body = {"device_code": started["device_code"]}
            return session.call("POST", f"/auth/provider/{provider}/token", body=body)
        except Failure as error:
            told = f"{error.text} {error.details.get('code', '')} {error.details.get('error', '')}"
            if "authorization_pending" not in told and "slow_down" not in told:
                raise
    raise NotPermitted("Nobody logged in with the code in time", "Begin again.")


def _find_page(session: Session, provider: str) -> str:
    """Where people enter the code. By our own address of the server, which need not know a proxy's prefix."""
    return f"{session.profile.server}/api/auth/provider/{quote(provider)}/device_code"


def _wait(brought: "queue.Queue[dict[str, str]]", at_most_s: float) -> dict[str, str]:
    """What the browser brings. In short steps, so that ctrl-C is noticed."""
    until = time.monotonic() + at_most_s
    while time.monotonic() < until:
        with contextlib.suppress(queue.Empty):
            return brought.get(timeout=_TICK_S)
    raise NotPermitted("Nobody logged in with the browser in time", "Begin again.")


@contextlib.contextmanager
def _listening() -> "Iterator[tuple[str, queue.Queue[dict[str, str]]]]":
    """An address of this machine, and what a browser brings there. Browsers open idle connections: one thread each."""
    path, brought = f"/{secrets.token_urlsafe(16)}", queue.Queue[dict[str, str]]()

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            """One request; only the one at our path is looked at."""
            url = urlsplit(self.path)
            is_ours = secrets.compare_digest(url.path.encode(), path.encode())
            told = {name: values[0] for name, values in parse_qs(url.query).items()} if is_ours else {}
            text = _DONE if is_ours else "There is nothing here."
            self._answer(200 if is_ours else 404, _PAGE.format(f"<p>{text}</p>").encode())
            if told:
                brought.put(told)

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            for name, value in {**_HEADERS, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing: the code stands in the line."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(_TICK_S,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}{path}", brought
        finally:
            server.shutdown()
