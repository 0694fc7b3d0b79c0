"""Logins of an OpenID provider: authorization code with PKCE, state and nonce. The browser follows the redirects.

The messages of OAuth 2 (RFC 6749, 6750, 7636) are made by authlib. Its own HTTP client is not used: the one for httpx
is deprecated since authlib 1.9, and ours has the time limits.
"""

import logging
import secrets
from typing import Any

import httpx
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from sanic_qserver.auth.providers.openid import BadToken, OpenIdProvider, ProviderAway, build_principal, claim
from sanic_qserver.config.logins import Oidc
from sanic_qserver.errors import ConfigError, LoginRefused
from sanic_qserver.structs.identity import Principal

log = logging.getLogger("sanic_qserver.auth")


class OidcLogin:
    """Sends people to the provider and reads what they come back with."""

    def __init__(self, config: Oidc) -> None:
        if "openid" not in config.scopes:
            raise ConfigError(f"[[auth.providers]] {config.name}: scopes must hold 'openid'")
        self.name = config.name
        self.title = config.title or config.name
        self.redirect_uri = config.redirect_uri
        self._config = config
        self.provider = OpenIdProvider(config)

    async def probe(self) -> str:
        """Ask the provider whether it is there. Raises ProviderAway."""
        return await self.provider.probe()

    async def authorize_url(self, *, redirect_uri: str, state: str, nonce: str, verifier: str) -> str:
        """Where the browser goes. Raises ProviderAway."""
        endpoint = str((await self.provider.document()).get("authorization_endpoint", ""))
        url: str = prepare_grant_uri(
            endpoint,
            self._config.client_id,
            "code",
            redirect_uri=redirect_uri,
            scope=list(self._config.scopes),
            state=state,
            nonce=nonce,
            code_challenge=create_s256_code_challenge(verifier),
            code_challenge_method="S256",
        )
        return url

    async def finish(self, *, code: str, redirect_uri: str, nonce: str, verifier: str) -> Principal:
        """Who came back. Raises LoginRefused or ProviderAway."""
        tokens = await self._exchange(code, redirect_uri, verifier)
        try:
            claims = await self.provider.read(str(tokens.get("id_token", "")), self._config.client_id)
        except BadToken as error:
            log.warning("Login at %s refused: the id token is not good: %s", self.name, error)
            raise LoginRefused("Authentication failure: the provider's token is not good") from None
        authorized = claims.get("azp")
        is_for_us = authorized in (None, self._config.client_id)
        if not secrets.compare_digest(str(claims.get("nonce", "")), nonce) or not is_for_us:
            raise LoginRefused("Authentication failure: the provider's token belongs to another login")
        claims = await self._completed(claims, str(tokens.get("access_token", "")))
        principal = build_principal(claims, self.provider.name_claim, self._config.claims, self.name)
        if principal is None:
            raise LoginRefused("Authentication failure: the provider does not say who that is")
        return principal

    async def _exchange(self, code: str, redirect_uri: str, verifier: str) -> dict[str, Any]:
        document, config = await self.provider.document(), self._config
        methods = document.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        method = "client_secret_basic" if "client_secret_basic" in methods else "client_secret_post"
        form = prepare_token_request("authorization_code", redirect_uri=redirect_uri, code=code, code_verifier=verifier)
        headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
        client = ClientAuth(config.client_id, config.client_secret, method if config.client_secret else "none")
        url, headers, form = client.prepare("POST", str(document.get("token_endpoint", "")), headers, form)
        try:
            response = await self.provider.http.post(url, content=form, headers=headers)
            found = response.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError):
            raise ProviderAway("The login provider does not answer", headers={"Retry-After": "5"}) from None
        if response.status_code != 200 or not isinstance(found, dict):
            error = found.get("error", "") if isinstance(found, dict) else ""
            log.warning("Login at %s refused by the provider: %s %s", self.name, response.status_code, str(error)[:100])
            raise LoginRefused("Authentication failure: the provider refuses the code")
        return found

    async def _completed(self, claims: dict[str, Any], access_token: str) -> dict[str, Any]:
        """The claims, with those of the user-info endpoint where the token does not name the person."""
        if claim(claims, self.provider.name_claim) or not access_token:
            return claims
        endpoint = (await self.provider.document()).get("userinfo_endpoint")
        if not endpoint:
            return claims
        try:
            response = await self.provider.http.get(endpoint, headers={"Authorization": f"Bearer {access_token}"})
            more = response.json() if response.status_code == 200 else {}
        except (httpx.HTTPError, httpx.InvalidURL, ValueError):
            return claims
        # OpenID Connect Core, section 5.3.2: an answer about another subject must not be used.
        return {**more, **claims} if isinstance(more, dict) and more.get("sub") == claims.get("sub") else claims
