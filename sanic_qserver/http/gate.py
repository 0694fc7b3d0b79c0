"""The gate: authentication, authorization and rate limits, for every row alike. Nothing reaches a row without it."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

from sanic import Request

from sanic_qserver.api.call import Call
from sanic_qserver.api.endpoint import Answer, Endpoint, Serve, Stream
from sanic_qserver.api.services import Services
from sanic_qserver.auth.providers.provider import Providers
from sanic_qserver.auth.tokens.rejected import Rejected
from sanic_qserver.bounded import BoundedDict
from sanic_qserver.errors import GatewayError, NotAuthenticated, ScopeMissing
from sanic_qserver.http.credentials import read_credential
from sanic_qserver.http.csrf import AMBIENT, Browsers
from sanic_qserver.http.request_id import read_request_id
from sanic_qserver.http.server.request import DirectRequest
from sanic_qserver.manager.bodies import Body
from sanic_qserver.middleware.audit.recording import record_denied, record_failed
from sanic_qserver.policy.protocols import AccessPolicy, Attempt, RatePolicy, Verdict
from sanic_qserver.scopes import Scope, listed
from sanic_qserver.structs.identity import PUBLIC, Access, Credential, CredentialKind, Principal
from sanic_qserver.structs.requests import NoParams
from sanic_qserver.texts import Text

_NO_PARAMS = NoParams()
_NO_ARGS: Mapping[str, str] = {}
_CACHE_SIZE = 10_000
_CACHE_S = 1.0  # How long a decision is cached.

_CredentialKey = tuple[CredentialKind, str, str]


class Gate:
    """Admits requests. One an application."""

    def __init__(
        self,
        providers: Providers,
        access: AccessPolicy,
        rates: RatePolicy,
        browsers: Browsers,
        rejected: Rejected,
        services: Services,
    ) -> None:
        self.providers = providers
        self._services = services
        self._rejected = rejected
        self.browsers = browsers
        self.audit = services.audit
        self.access = access
        self.rates = rates
        self._known: BoundedDict[_CredentialKey, tuple[Access, tuple[int, int], float]] = BoundedDict(_CACHE_SIZE)

    async def admit(
        self,
        request: Request,
        row: Endpoint | Stream,
        path_args: Mapping[str, str] = _NO_ARGS,
        credential: Credential | None = None,
        *,
        may_follow: bool = False,
    ) -> tuple[Call, Verdict]:
        """The call, when who asks may do what the row does, now; without params, as the body is not read yet.

        `credential` stands for what the request carries. `may_follow`: it may still come, so its lack is no denial.
        Raises NotAuthenticated (401), ScopeMissing or Forbidden (403), TooManyRequests (429), HostNotAllowed (421).
        """
        assert isinstance(request, DirectRequest)  # noqa: S101  # the application has no other
        address = request.client_ip
        if row.ignores_credential:
            credential = Credential(kind=CredentialKind.ANONYMOUS, address=address)
        access: Access | None = None
        try:
            if credential is None:
                of_head = request.of_head
                credential = of_head.credential = of_head.credential or read_credential(request)
            access = await self.identify(credential)
            request.ctx.__dict__["principal"] = access.principal  # for the log
            if credential.kind in AMBIENT:
                self.browsers.check(request, row, credential, access)
            elif credential.kind is CredentialKind.TICKET and isinstance(row, Endpoint):
                raise NotAuthenticated("A ticket opens websockets and streams only")
            self._check_scope(access, row)
            attempt = _attempt(access, row, address)
            # Logins: when they cannot be counted, nobody is let in.
            verdict = await (self.rates.admit_login if row.ignores_credential else self.rates.admit)(attempt)
        except GatewayError as error:
            if not (may_follow and isinstance(error, NotAuthenticated)):
                self.deny(request, row, access, error)
            raise
        return Call(
            row, _NO_PARAMS, access, read_request_id(request), self._services, request.headers, path_args, address,
            query=request.query_string, check_again=partial(self._check_again, credential, row, access.principal),
            find_site=request.find_site,
        ), verdict  # fmt: skip

    def deny(self, request: Request, row: Endpoint | Stream, access: Access | None, error: GatewayError) -> None:
        """Record that somebody was not admitted."""
        record_denied(self.audit, row, access, request.client_ip, read_request_id(request), error)

    def _check_scope(self, access: Access, row: Endpoint | Stream) -> None:
        if row.scope is not None and row.scope not in access.scopes and access.scopes.isdisjoint(row.any_scope):
            self.refuse(access, row.scope)

    async def _check_again(self, credential: Credential, row: Endpoint | Stream, principal: Principal) -> None:
        access = await self.identify(credential)
        if (access.principal.provider, access.principal.name) != (principal.provider, principal.name):
            raise NotAuthenticated("The credential has become somebody else's")
        self._check_scope(access, row)

    async def serve(self, call: Call, serve: Serve) -> bytes | Body | Answer:
        """Serve an admitted call. It holds a concurrency slot where requests in flight are limited."""
        if not self.rates.counts_requests:
            return await serve(call)
        try:
            ticket = await self.rates.enter(_attempt(call.access, call.endpoint, call.address))
        except GatewayError as error:
            record_failed(self.audit, call.endpoint, call, error)
            raise
        try:
            return await serve(call)
        finally:
            self.rates.leave(ticket)

    @asynccontextmanager
    async def hold_slot(self, call: Call) -> AsyncIterator[None]:
        """Hold a concurrency slot while the body runs. Raises TooManyRequests."""
        ticket = await self.rates.enter(_attempt(call.access, call.endpoint, call.address))
        try:
            yield
        finally:
            self.rates.leave(ticket)

    def still_admitted(self, access: Access, row: Endpoint | Stream) -> bool:
        """Whether the current policy would admit them again. For open streams and websockets.

        Call it about once a second; it takes microseconds and charges nothing. An expired credential does not close a
        stream: the official client opens its websocket with a key of 60 s, and deletes the key at once.
        """
        try:
            now = self.access.access_of(access.principal)
        except NotAuthenticated:
            return False
        return row.scope is None or row.scope in now.scopes or not now.scopes.isdisjoint(row.any_scope)

    async def identify(self, credential: Credential) -> Access:
        """The caller and what they may do. Cached for a second, unless the policy or the revocations change."""
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
        """Say which scope is missing: 401 for anonymous callers, who can log in, 403 for others."""
        held = listed(access.scopes)
        detail = f"{Text.NOT_ENOUGH_PERMISSIONS}. Requires scopes ['{scope}']. Request had scopes {held}"
        if access.principal.provider == PUBLIC.provider and access.principal.name == PUBLIC.name:
            raise NotAuthenticated(detail)
        raise ScopeMissing(detail, extra={"missing_scope": str(scope)})


def _attempt(access: Access, row: Endpoint | Stream, address: str) -> Attempt:
    # Who submits many items is charged for all of them at once, when they are known (`middleware/quotas.py`).
    cost = 0 if isinstance(row, Endpoint) and row.method == "queue_item_add_batch" else 1
    is_stream = isinstance(row, Stream)
    return Attempt(access=access, path=row.path, scope=row.scope, address=address, cost=cost, is_stream=is_stream)
