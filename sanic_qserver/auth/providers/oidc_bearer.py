"""Access tokens of the facility's own OpenID provider, as programs and other services hold them."""

import base64
import time
from typing import Any

import msgspec
from cachetools import TLRUCache

from sanic_qserver.auth.providers.openid import BadToken, OpenIdProvider, build_principal, claim
from sanic_qserver.config.logins import OidcBearer
from sanic_qserver.errors import AccessTokenExpired, ConfigError, InvalidAccessToken
from sanic_qserver.scopes import Scope
from sanic_qserver.structs.identity import Credential, CredentialKind, Principal

_MOST = 5_000
_LONGEST_S = 300.0


class OidcTokens:
    """Recognises tokens of one issuer, made for this server's audience."""

    sees_only_value = True
    kinds = frozenset({CredentialKind.BEARER})

    def __init__(self, config: OidcBearer) -> None:
        known = {str(scope) for scope in Scope}
        for name, granted in config.scopes_map.items():
            if unknown := set(granted) - known:
                raise ConfigError(f"[[auth.providers]] {config.name}: scopes_map.{name}: no scope {sorted(unknown)}")
        self.name = config.name
        self._config = config
        self.provider = OpenIdProvider(config)
        self._verified: TLRUCache[str, Principal] = TLRUCache(_MOST, ttu=_good_until, timer=time.time)

    async def probe(self) -> str:
        """Ask the provider whether it is there. Raises ProviderAway."""
        return await self.provider.probe()

    async def identify(self, credential: Credential) -> Principal | None:
        """Whom the token is about; None for another issuer's. Raises AccessTokenExpired or InvalidAccessToken."""
        token = credential.value
        if (verified := self._verified.get(token)) is not None:
            return verified
        if _read_issuer(token) != self._config.issuer:
            return None
        try:
            claims = await self.provider.read(token, self._config.audience)
        except BadToken as error:
            raise (AccessTokenExpired if "expired" in str(error) else InvalidAccessToken) from None
        principal = build_principal(claims, self.provider.name_claim, self._config.claims, self.name)
        if principal is None:
            raise InvalidAccessToken
        expires_at = float(claims["exp"]) + self._config.clock_skew_s
        principal = msgspec.structs.replace(principal, key_scopes=self._scopes(claims), expires_at=expires_at)
        self._verified[token] = principal
        return principal

    def _scopes(self, claims: dict[str, Any]) -> frozenset[str] | None:
        """What the token is limited to. None, all that its owner may, where the site asks for no such claim."""
        config = self._config
        if not config.scopes_claim:
            return None
        found = claim(claims, config.scopes_claim)
        names = found.split() if isinstance(found, str) else list(map(str, found or ()))
        known = {str(scope) for scope in Scope}
        granted = {scope for name in names for scope in config.scopes_map.get(name, (name,))}
        return frozenset(granted & known)


def _good_until(_: str, principal: Principal, now: float) -> float:
    return min(principal.expires_at or now, now + _LONGEST_S)


def _read_issuer(token: str) -> Any:
    """Who a token says made it. It may lie: this only tells whom to ask for the key."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, msgspec.DecodeError, RecursionError):
        return None
    return claims.get("iss") if isinstance(claims, dict) else None
