"""Calls to one server: credentials, refreshed by themselves, and what each answer means for the exit code.

The rules:
1. A call that changes something carries an `Idempotency-Key`. It is sent a second time only after an answer that
   proves that the first did nothing: an expired token.
2. A lost answer to a read is `Unreachable`; to a change it is `OutcomeUnknown`.
3. Secrets stand in no text.
"""

import json
import ssl
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sanic_qserver.client.failures import Failure, NotPermitted, OutcomeUnknown, Refused, Unreachable, WrongUsage
from sanic_qserver.client.profiles import Profile, ProfileStore

if TYPE_CHECKING:
    import httpx

LOG_IN = "Log in: qsctl login {server} (or give an API key by QSERVER_API_KEY or --api-key-file)."
_EARLY_S = 20.0  # A token is refreshed this long before its end.
_SURELY_NOT_SENT = ("ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol", "ProxyError")


def load_httpx() -> Any:
    """Httpx without its own command line, which loads rich and pygments: a fifth of a second at every start."""
    if "httpx" not in sys.modules:
        sys.modules["httpx._main"] = None  # type: ignore[assignment]  # httpx then does without
        import httpx

        del sys.modules["httpx._main"]
        return httpx
    return sys.modules["httpx"]


class Session:
    """One server, with the login of a profile."""

    def __init__(self, profile: Profile, store: ProfileStore, timeout_s: float = 60.0, lock_key: str = "") -> None:
        self.profile, self.lock_key, self.timeout_s = profile, lock_key, timeout_s
        self.was_done_before = False
        """Whether the last call was answered with the answer to an earlier one with its Idempotency-Key."""
        self._store = store
        self._httpx = load_httpx()
        self.client: httpx.Client = self._httpx.Client(
            base_url=f"{profile.server}/api", timeout=timeout_s, verify=self._trust(), headers={"User-Agent": "qsctl"}
        )

    @property
    def errors(self) -> Any:
        """What a request that fails raises: for `explain`."""
        return self._httpx.HTTPError

    def read_timeout(self, seconds: float) -> Any:
        """A time limit for streams, whose server is silent for so long at most."""
        return self._httpx.Timeout(self.timeout_s, read=seconds)

    def _trust(self) -> Any:
        """What certificates are checked against. They always are."""
        if self.profile.server.startswith("http://"):
            return False  # There are none; reading the trusted ones takes time.
        try:
            return ssl.create_default_context(cafile=self.profile.ca_file or None)
        except (OSError, ssl.SSLError) as error:
            raise WrongUsage(f"--ca-file {self.profile.ca_file} cannot be used: {error}") from None

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """The reply to a read."""
        return self.call("GET", path, query={name: value for name, value in query.items() if value is not None})

    def post(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        key: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """The reply to a change. Raises Refused when RE Manager says no."""
        key = key or str(uuid.uuid4())
        headers = {"Idempotency-Key": key, **(headers or {})}
        return self.call("POST", path, body=body or {}, headers=headers)

    def call(
        self,
        verb: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """The reply, decoded. `more` goes to httpx (`data`, `files`, `timeout`)."""
        if body is not None and not more.get("files"):
            more["json"] = body
        is_change = "Idempotency-Key" in (headers or {}) or verb in {"DELETE", "PATCH"}
        for is_last in (False, True):
            sent = {**self.authorization(), **(headers or {})}
            try:
                response = self.client.request(verb, path, params=query, headers=sent, **more)
            except self.errors as error:
                raise self.explain(error, is_change=is_change) from None
            if not (response.status_code == 401 and not is_last and self.refresh(response)):
                break
        self.was_done_before = response.headers.get("Idempotency-Replayed") == "true"
        reply = self.read(response, is_change=is_change)
        if reply.get("success") is False:
            raise refused(reply)
        return reply

    def authorization(self) -> dict[str, str]:
        """The header that says who asks; empty for nobody."""
        profile = self.profile
        if profile.api_key:
            return {"Authorization": f"ApiKey {profile.api_key}"}
        if profile.refresh_token and profile.access_ends_at - _EARLY_S < time.time():
            self._renew(profile.refresh_token)
        if self.profile.access_token:
            return {"Authorization": f"Bearer {self.profile.access_token}"}
        return {}

    def refresh(self, response: "httpx.Response") -> bool:
        """Whether new tokens were got, after an answer that says that the old one has expired."""
        if not self.profile.refresh_token or self.profile.api_key or "expired" not in response.text:
            return False
        self._renew(self.profile.refresh_token)
        return True

    def _renew(self, spent: str) -> None:
        """Get new tokens, or take those that another command got meanwhile."""
        with self._store.locked(self.profile.name):
            kept = self._store.load(self.profile.name)
            if kept is not None and kept.refresh_token not in {"", spent} and kept.server == self.profile.server:
                self.profile = replace(kept, ca_file=self.profile.ca_file)
                return
            try:
                response = self.client.post("/auth/session/refresh", json={"refresh_token": spent})
            except self.errors as error:
                raise self.explain(error, is_change=False) from None
            if response.status_code in {400, 401}:
                self._store.save(replace(self.profile, access_token="", refresh_token=""))
                raise NotPermitted("Your session has ended", LOG_IN.format(server=self.profile.server))
            self.keep_tokens(self.read(response, is_change=False))

    def keep_tokens(self, tokens: Mapping[str, Any]) -> None:
        """Use what a login or a refresh gave, and keep it in the profile."""
        self.profile = replace(
            self.profile,
            access_token=tokens["access_token"],
            refresh_token=tokens["refresh_token"],
            access_ends_at=time.time() + float(tokens["expires_in"]),
            api_key="",
        )
        self._store.save(self.profile)

    def read(self, response: "httpx.Response", *, is_change: bool) -> dict[str, Any]:
        """The object in a response; raises what its status means."""
        try:
            reply = json.loads(response.content or b"{}")
        except ValueError:
            reply = None
        if response.status_code >= 400:
            raise failure_for(response.status_code, reply, is_change=is_change, server=self.profile.server)
        if not isinstance(reply, dict) or response.is_redirect:
            text = f"What answers at {self.profile.server} is not this server: its answer is no JSON object"
            raise Unreachable(text, "Check the address, and the prefix of a proxy.")
        return reply

    def explain(self, error: Exception, *, is_change: bool) -> Failure:
        """What a failed request means."""
        server, kind = self.profile.server, type(error).__name__
        text = str(error) or kind
        if "CERTIFICATE_VERIFY_FAILED" in text or "certificate verify failed" in text:
            hint = "Name the certificate authority with --ca-file, or check that this is the server you mean."
            return Unreachable(f"The certificate of {server} is not trusted: {text}", hint)
        if kind in _SURELY_NOT_SENT:
            hint = "Check the address (--server), or start the server."
            if "WRONG_VERSION_NUMBER" in text:
                hint = "What listens there speaks no TLS: is it http://, or another port?"
            return Unreachable(f"No connection to {server}: {text}", hint)
        if is_change:
            hint = "Look before you repeat it: qsctl status, qsctl queue list."
            return OutcomeUnknown(f"The answer of {server} was lost ({kind}): the outcome is unknown", hint)
        return Unreachable(f"{server} did not answer: {text}", "Try again.")

    def close(self) -> None:
        """End the connections."""
        self.client.close()


def refused(reply: Mapping[str, Any]) -> Failure:
    """RE Manager's no, in its words."""
    text = str(reply.get("msg") or "RE Manager refused")
    if reply.get("outcome") == "unknown":
        return OutcomeUnknown(text, "Look before you repeat it: qsctl queue list.", reply=dict(reply))
    hint = "The lock needs its key: --lock-key-file." if "lock" in text.lower() and "key" in text.lower() else ""
    return Refused(text, hint, reply=dict(reply))


def _not_permitted(status: int, text: str, server: str, details: dict[str, Any]) -> NotPermitted:
    """Who asked is not known, or may not do this: with what to do about it."""
    code = details.get("code")
    if code == "invalid_api_key":
        hint = f"Check the key (QSERVER_API_KEY, --api-key-file, or the profile's), or log in: qsctl login {server}."
    elif status == 401:
        text = f"Not logged in. {text}" if code == "not_authenticated" else text
        hint = LOG_IN.format(server=server)
    elif status == 421:
        hint = "Use another name of the server, or ask the people who run it."
    else:
        hint = "qsctl whoami shows your scopes; ask the people of the instrument for more."
    return NotPermitted(text, hint, **details)


def failure_for(status: int, reply: Any, *, is_change: bool, server: str) -> Failure:
    """What a status of 400 and above means."""
    problem = reply if isinstance(reply, dict) else {}
    text = str(problem.get("detail") or f"{server} answered with status {status}")
    details = {"status": status, **{k: v for k, v in problem.items() if k not in {"type", "title", "status", "detail"}}}
    if is_change and status in {500, 502, 504}:  # A proxy, too, answers so when it lost the server half-way.
        return OutcomeUnknown(text, "Look before you repeat it: qsctl status, qsctl queue list.", **details)
    if not problem:
        hint = "Check the address, and the prefix of a proxy."
        return (
            Unreachable(text, hint, **details) if status != 413 else Refused(text, "The body is too large.", **details)
        )
    if status in {401, 403, 421}:
        return _not_permitted(status, text, server, details)
    if status == 408 or problem.get("outcome") == "unknown":
        if is_change:
            return OutcomeUnknown(text, "Look before you repeat it: qsctl status, qsctl queue list.", **details)
        return Unreachable(text, "Try again.", **details)
    if status >= 500:
        return Unreachable(text, "Nothing was done: try again later.", **details)
    if status in {400, 415, 422, 405}:
        return WrongUsage(text, **details)
    return Refused(text, "Wait a little, then try again." if status == 429 else "", **details)
