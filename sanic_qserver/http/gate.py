"""The gate: who is it, may they, how often. For every row alike, HTTP or websocket; nothing reaches a row past it."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cachetools import FIFOCache
from sanic import Request

from sanic_qserver.api.call import Call
from sanic_qserver.api.endpoint import Answer, Endpoint, ForeignForms, Stream
from sanic_qserver.auth.providers.provider import Providers
from sanic_qserver.auth.tokens.rejected import Rejected
from sanic_qserver.errors import GatewayError, NotAuthenticated, ScopeMissing
from sanic_qserver.http.credentials import credential_of
from sanic_qserver.http.csrf import AMBIENT, Browsers
from sanic_qserver.http.request_id import request_id_of
from sanic_qserver.manager.bodies import Body
from sanic_qserver.middleware.audit.recording import record_denied, record_failed
from sanic_qserver.middleware.audit.sinks import Audit
from sanic_qserver.policy.protocols import AccessPolicy, Attempt, RatePolicy, Verdict
from sanic_qserver.scopes import Scope, listed
from sanic_qserver.structs.identity import PUBLIC, Access, Credential, CredentialKind, Principal
from sanic_qserver.texts import Text

_CACHE_SIZE = 10_000
_CACHE_S = 1.0  # A decision is used this long before the provider and the policy are asked again.

_CredentialKey = tuple[CredentialKind, str, str]


class Gate:
    """Admits requests. One an application."""

    def __init__(
        self,
        providers: Providers,
        access: AccessPolicy,
        rates: RatePolicy,
        browsers: Browsers,
        audit: Audit,
        rejected: Rejected,
    ) -> None:
        self.providers = providers
        self._rejected = rejected
        self.browsers = browsers
        self.audit = audit
        self.access = access
        self.rates = rates
        self._known: FIFOCache[tuple[CredentialKind, str, str], tuple[Access, tuple[int, int], float]] = FIFOCache(
            _CACHE_SIZE
        )

    async def admit(
        self, request: Request, row: Endpoint | Stream, credential: Credential | None = None
    ) -> tuple[Access, Verdict]:
        """Who asks, when they may do what the row does, now. `credential` stands for what the request carries.

        Raises NotAuthenticated (401), ScopeMissing or Forbidden (403), or TooManyRequests (429).
        """
        if row.ignores_credential:
            credential = Credential(kind=CredentialKind.ANONYMOUS, address=request.client_ip)
        access: Access | None = None
        try:
            credential = credential or credential_of(request)
            access = await self.identify(credential)
            if credential.kind in AMBIENT and not isinstance(row, ForeignForms):
                self.browsers.check(request, credential, access)
            elif credential.kind is CredentialKind.TICKET and isinstance(row, Endpoint):
                raise NotAuthenticated("A ticket opens websockets and streams only")
            if row.scope is not None and row.scope not in access.scopes and access.scopes.isdisjoint(row.any_scope):
                self.refuse(access, row.scope)
            attempt = _attempt(access, row, request.client_ip)
            if row.ignores_credential:  # Logins: when they cannot be counted, nobody is let in.
                return access, await self.rates.admit_login(attempt)
            return access, await self.rates.admit(attempt)
        except GatewayError as error:
            record_denied(self.audit, row, access, request.client_ip, request_id_of(request), error)
            raise

    async def serve(self, row: Endpoint, call: Call) -> bytes | Body | Answer:
        """Serve an admitted request, in a place of its own where requests in flight are counted."""
        if not self.rates.counts_requests:
            return await row.serve(call)
        try:
            ticket = await self.rates.enter(_attempt(call.access, row, call.address))
        except GatewayError as error:
            record_failed(self.audit, row, call, error)
            raise
        try:
            return await row.serve(call)
        finally:
            self.rates.leave(ticket)

    @asynccontextmanager
    async def place(self, access: Access, row: Endpoint | Stream, address: str) -> AsyncIterator[None]:
        """A place under the concurrency rules, for as long as the body runs. Raises TooManyRequests."""
        ticket = await self.rates.enter(_attempt(access, row, address))
        try:
            yield
        finally:
            self.rates.leave(ticket)

    def still_admitted(self, access: Access, row: Endpoint | Stream) -> bool:
        """Whether the policy of this moment would let them in again. For what stays open: streams, websockets.

        Ask about once a second; it takes microseconds. Nothing is counted. That the credential ends is no reason
        to close: the official client opens its websocket with a key of 60 s and deletes the key at once.
        """
        try:
            now = self.access.access_of(access.principal)
        except NotAuthenticated:
            return False
        return row.scope is None or row.scope in now.scopes or not now.scopes.isdisjoint(row.any_scope)

    async def identify(self, credential: Credential) -> Access:
        """Who this is, and what they may do. Asked anew each second, and whenever policy or revocations change."""
        key = (credential.kind, credential.value, credential.scheme)
        now = time.monotonic()
        version = (self.access.version, self.providers.version)
        if (known := self._known.get(key)) is not None and known[1] == version and now < known[2]:
            return known[0]
        principal, is_same_for_all = await self._look_up(credential, was_good=known is not None)
        access = self.access.access_of(principal)
        if is_same_for_all:
            until = now + _CACHE_S
            if access.expires_at is not None:
                until = min(until, now + access.expires_at - time.time())
            self._known[key] = (access, version, until)
        return access

    async def _look_up(self, credential: Credential, *, was_good: bool) -> tuple[Principal, bool]:
        """Ask the providers, unless the address has sent too many bad credentials. Raises TooManyRequests."""
        if credential.kind is CredentialKind.ANONYMOUS:
            return await self.providers.identify(credential)
        if not was_good:
            self._rejected.check(credential.address)
        try:
            return await self.providers.identify(credential)
        except NotAuthenticated:
            self._known.pop((credential.kind, credential.value, credential.scheme), None)
            self._rejected.count(credential.address)
            raise

    def refuse(self, access: Access, scope: Scope) -> None:
        """Say which scope is missing: 401 to the anonymous, who may log in, 403 to the known."""
        held = listed(access.scopes)
        detail = f"{Text.NOT_ENOUGH_PERMISSIONS}. Requires scopes ['{scope}']. Request had scopes {held}"
        if access.principal.provider == PUBLIC.provider and access.principal.name == PUBLIC.name:
            raise NotAuthenticated(detail)
        raise ScopeMissing(detail, extra={"missing_scope": str(scope)})


def _attempt(access: Access, row: Endpoint | Stream, address: str) -> Attempt:
    return Attempt(access=access, path=row.path, scope=row.scope, address=address, is_stream=isinstance(row, Stream))
