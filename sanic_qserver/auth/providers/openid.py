"""What OpenID providers say of themselves, and whether a token is really theirs. Documents are fetched when needed.

Rules: only the configured algorithms, all asymmetric; issuer and audience must be the configured ones; keys that
change are fetched again, at most every half minute, however many tokens name a key that is not known.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from sanic_qserver.config.logins import ClaimNames, Oidc, OidcBearer
from sanic_qserver.errors import ConfigError, GatewayError
from sanic_qserver.structs.identity import Principal

log = logging.getLogger("sanic_qserver.auth")

OLD_NAMES = (
    "[[auth.providers]] %s: people are known by preferred_username, as before, which some of them may change. "
    'Set claims = { name = "sub" } when the policy names them so, or name = "preferred_username" to keep it'
)
_DISCOVERY_S = 3600.0
_REFETCH_S = 30.0
_SYMMETRIC = ("HS", "none", "dir", "A1", "A2")
_PASSING = frozenset({"nonce", "at_hash", "c_hash", "iat", "nbf", "exp", "auth_time", "jti", "sid", "session_state"})


class ProviderAway(GatewayError):
    """The OpenID provider does not answer, or not as it should."""

    status, code, title = 503, "provider_unavailable", "The login provider is not available"


class BadToken(Exception):
    """A token that is not this provider's, not for us, or over. The text says why, without the token."""


class OpenIdProvider:
    """One issuer: its discovery document and its keys."""

    def __init__(self, config: Oidc | OidcBearer) -> None:
        if not config.algorithms or any(name.startswith(_SYMMETRIC) for name in config.algorithms):
            raise ConfigError(f"[[auth.providers]] {config.name}: algorithms: asymmetric ones only, such as RS256")
        self.issuer = config.issuer
        self.name_claim = config.claims.name or "sub"
        self._config = config
        self._url = config.discovery_url or config.issuer.rstrip("/") + "/.well-known/openid-configuration"
        self._client: httpx.AsyncClient | None = None
        self._document: dict[str, Any] = {}
        self._document_at = float("-inf")
        self._keys: KeySet | None = None
        self._keys_at = float("-inf")
        self._lock = asyncio.Lock()

    def keep_old_names(self) -> None:
        """Take the name from where it came by default before: `preferred_username`, which people may change."""
        if not self._config.claims.name:
            self.name_claim = "preferred_username"
            log.warning(OLD_NAMES, self._config.name)

    @property
    def http(self) -> httpx.AsyncClient:
        """The client for everything that this provider is asked."""
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=self._config.timeout_s, follow_redirects=False)
        return self._client

    async def document(self) -> Mapping[str, Any]:
        """The discovery document, an hour old at most. Raises ProviderAway."""
        if time.monotonic() - self._document_at < _DISCOVERY_S:
            return self._document
        found = await self._get(self._url)
        if found.get("issuer") != self.issuer:
            raise ProviderAway("The login provider's discovery document names another issuer than the configuration")
        self._document, self._document_at = found, time.monotonic()
        return found

    async def probe(self) -> str:
        """Fetch the discovery document and the keys. Raises ProviderAway."""
        await self._key_set(is_fresh=False)
        return f"{self.issuer} answers"

    async def read(self, token: str, audience: str) -> dict[str, Any]:
        """The claims of a good token. Raises BadToken or ProviderAway."""
        claims = await self._verified(token)
        now, skew_s = time.time(), self._config.clock_skew_s
        sent = claims.get("aud")
        audiences = sent if isinstance(sent, list) else [sent]
        if claims.get("iss") != self.issuer:
            raise BadToken("it has another issuer")
        if audience not in audiences:
            raise BadToken("it is for another audience")
        if not isinstance(claims.get("exp"), (int, float)) or claims["exp"] + skew_s <= now:
            raise BadToken("it has expired")
        for name in ("nbf", "iat"):
            if isinstance(claims.get(name), (int, float)) and claims[name] - skew_s > now:
                raise BadToken("it is not valid yet")
        return claims

    async def _verified(self, token: str) -> dict[str, Any]:
        algorithms = list(self._config.algorithms)
        for is_last in (False, True):
            keys = await self._key_set(is_fresh=is_last)
            try:
                claims: dict[str, Any] = jwt.decode(token, keys, algorithms=algorithms).claims
            except (JoseError, ValueError, TypeError, KeyError) as error:
                if is_last or not self._may_refetch():
                    raise BadToken(type(error).__name__) from None
            else:
                return claims
        raise AssertionError

    def _may_refetch(self) -> bool:
        return time.monotonic() - self._keys_at >= _REFETCH_S

    async def _key_set(self, *, is_fresh: bool) -> KeySet:
        async with self._lock:
            if self._keys is None or (is_fresh and self._may_refetch()):
                found = await self._get(str((await self.document()).get("jwks_uri", "")))
                self._keys_at = time.monotonic()
                good = [key for key in found.get("keys", []) if key.get("kty") in ("RSA", "EC", "OKP")]
                try:
                    self._keys = KeySet.import_key_set({"keys": good})
                except (JoseError, ValueError, TypeError, KeyError):
                    raise ProviderAway("The login provider's keys cannot be read") from None
            return self._keys

    async def _get(self, url: str) -> dict[str, Any]:
        try:
            response = await self.http.get(url)
            response.raise_for_status()
            found = response.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError):
            raise ProviderAway("The login provider does not answer", headers={"Retry-After": "5"}) from None
        if not isinstance(found, dict):
            raise ProviderAway("The login provider answers with something else than expected")
        return found

    async def close(self) -> None:
        """Give the connections back."""
        if self._client is not None:
            await self._client.aclose()


def claim(claims: Mapping[str, Any], path: str) -> Any:
    """The claim at a dotted path; None for none."""
    value: Any = claims
    for step in path.split(".") if path else ():
        value = value.get(step) if isinstance(value, Mapping) else None
    return value if path else None


def build_principal(claims: Mapping[str, Any], name_claim: str, names: ClaimNames, provider: str) -> Principal | None:
    """Whom a token is about; None when it does not say."""
    name = claim(claims, name_claim) or claims.get("sub")
    if not isinstance(name, str) or not 0 < len(name) <= 255 or not name.isprintable():
        return None
    groups = claim(claims, names.groups)
    return Principal(
        name=name,
        provider=provider,
        displayed_name=_text(claim(claims, names.displayed_name)),
        email=_text(claim(claims, names.email)),
        groups=tuple(map(str, groups if isinstance(groups, list) else [groups] if groups else [])),
        claims={key: value for key, value in claims.items() if key not in _PASSING},
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
