"""Sessions: opened by a login, carried by access tokens, continued by refresh tokens, ended by revocation.

Each refresh token is good once. One that comes again means that two hold it: then the session ends for both, except
within a short grace, in which a client that sent two requests at once gets the same generation twice.
"""

from collections.abc import Callable

import msgspec

from sanic_qserver.auth.storage.records import Known
from sanic_qserver.auth.storage.store import Store
from sanic_qserver.auth.tokens.credential_cache import CredentialCache
from sanic_qserver.auth.tokens.signing import Tokens, TokenType
from sanic_qserver.config.logins import AuthConfig
from sanic_qserver.errors import AccessTokenExpired, InvalidAccessToken, SessionExpired
from sanic_qserver.structs.auth_replies import TokenReply
from sanic_qserver.structs.identity import Credential, CredentialKind, Principal

_NEVER_S = 100 * 365 * 86_400.0
_TYPES = {CredentialKind.BEARER: TokenType.ACCESS, CredentialKind.COOKIE: TokenType.COOKIE}


class Sessions:
    """Opens, continues and ends sessions, and recognises their tokens."""

    sees_only_value = True

    def __init__(
        self,
        store: Store,
        tokens: Tokens,
        credential_cache: CredentialCache,
        config: AuthConfig,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._credential_cache = credential_cache
        self._config = config
        self._clock = clock

    async def open(self, known: Known, ends_at: float | None = None) -> tuple[str, TokenReply]:
        """A new session's id, and its first tokens. It does not outlive `ends_at` (POSIX)."""
        age_s = self._config.tokens.session_s or _NEVER_S
        expires_at = self._clock() + age_s
        if ends_at is not None:
            expires_at = min(expires_at, ends_at)
        session = await self._store.open_session(known, expires_at, self._config.tokens.max_sessions)
        return session, self._reply(session, 0, expires_at)

    async def refresh(self, refresh_token: str) -> tuple[Principal, TokenReply]:
        """New tokens for a refresh token. Raises SessionExpired for one that is spent, revoked, too old or not ours."""
        try:
            claims = self._tokens.read(refresh_token, TokenType.REFRESH)
        except InvalidAccessToken:
            raise SessionExpired from None
        if claims["exp"] <= self._clock():
            raise SessionExpired
        session, generation = claims["sub"], claims.get("gen")
        found = await self._store.session(session)
        if found is None or not isinstance(generation, int):
            raise SessionExpired
        principal, row = found
        if generation == row.generation:
            await self._store.turn_session(session, generation)  # When another was first, both get the next generation.
            return principal, self._reply(session, generation + 1, row.expires_at)
        is_echo = generation == row.generation - 1
        if is_echo and self._clock() - row.refreshed_at <= self._config.tokens.refresh_grace_s:
            return principal, self._reply(session, row.generation, row.expires_at)
        await self.revoke(session)
        raise SessionExpired

    def cookie(self, session: str) -> tuple[str, str]:
        """The value of the cookie for a browser, and the CSRF value that goes with it."""
        value = self._tokens.sign(TokenType.COOKIE, session, self._config.browsers.cookie_s)
        return value, self._tokens.csrf(session)

    def derive_csrf(self, session: str) -> str:
        """The CSRF value of a session."""
        return self._tokens.csrf(session)

    async def revoke(self, session: str, owner_uuid: str | None = None) -> bool:
        """End a session, in every worker within a second. False when there is no such live one."""
        done = await self._store.revoke_session(session, owner_uuid)
        self._credential_cache.forget()
        return done

    async def identify(self, credential: Credential) -> Principal | None:
        """Whose access token or cookie this is. Raises AccessTokenExpired, SessionExpired or InvalidAccessToken."""
        type_ = _TYPES.get(credential.kind)
        if type_ is None:
            return None
        kept = type_ + credential.value
        if (principal := self._credential_cache.get(kept)) is not None:
            return principal
        if not self._tokens.is_ours(credential.value):
            return None
        version = self._credential_cache.version
        claims = self._tokens.read(credential.value, type_)
        if claims["exp"] <= self._clock():
            raise AccessTokenExpired if type_ is TokenType.ACCESS else SessionExpired
        found = await self._store.session(claims["sub"])
        if found is None:
            raise SessionExpired
        principal = msgspec.structs.replace(found[0], session_id=claims["sub"], expires_at=float(claims["exp"]))
        self._credential_cache.put(kept, principal, version)
        return principal

    def _reply(self, session: str, generation: int, expires_at: float) -> TokenReply:
        left = expires_at - self._clock()
        access_s = min(self._config.tokens.access_token_s, left)
        refresh_s = min(self._config.tokens.refresh_token_s, left)
        return TokenReply(
            access_token=self._tokens.sign(TokenType.ACCESS, session, access_s),
            expires_in=access_s,
            refresh_token=self._tokens.sign(TokenType.REFRESH, session, refresh_s, gen=generation),
            refresh_token_expires_in=refresh_s,
        )
