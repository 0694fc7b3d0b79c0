"""Logins of a SAML identity provider: web browser SSO, the request by redirect, the response by a form.

pysaml2 blocks and runs the program `xmlsec1`: it works in a bounded pool of threads, never in the event loop. Only
signed answers to a request of ours are accepted; which browser began it, and that it ends once, the endpoint sees to.
"""

import asyncio
import logging
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import httpx
from saml2 import BINDING_HTTP_POST, BINDING_HTTP_REDIRECT
from saml2.client import Saml2Client
from saml2.config import SPConfig

from sanic_qserver.auth.providers.saml_message import BadResponse, build_principal, check_assertion, opened
from sanic_qserver.config.logins import Saml
from sanic_qserver.errors import ConfigError, GatewayError, LoginRefused
from sanic_qserver.structs.identity import Principal
from sanic_qserver.threads import BoundedPool

log = logging.getLogger("sanic_qserver.auth")

T = TypeVar("T")
_METADATA_S = 3600.0
_RETRY_S = 30.0
_METADATA_BYTES = 4_000_000


class IdentityProviderAway(GatewayError):
    """The identity provider's metadata cannot be had, or it takes too long to read its answer."""

    status, code, title = 503, "provider_unavailable", "The login provider is not available"


class SamlLogin:
    """Sends people to one identity provider and reads what they come back with."""

    takes_form = True
    """People come back with a form (`SAMLResponse`, `RelayState`), not with a code in the URL."""

    def __init__(self, config: Saml) -> None:
        where = f"[[auth.providers]] {config.name}"
        if not config.want_assertions_signed and not config.want_response_signed:
            raise ConfigError(f"{where}: want_assertions_signed and want_response_signed must not both be false")
        self._xmlsec = config.xmlsec_binary or shutil.which("xmlsec1") or ""
        if not Path(self._xmlsec).is_file():
            raise ConfigError(f"{where}: the program xmlsec1 is not installed (Debian: apt install xmlsec1)")
        is_url = "://" in config.metadata
        if is_url and not config.metadata.startswith("https://"):
            raise ConfigError(f"{where}: metadata: an https:// address or a file, for it says whose keys are trusted")
        if not is_url and not Path(config.metadata).is_file():
            raise ConfigError(f"{where}: metadata: there is no file '{config.metadata}'")
        # pysaml2 writes whole assertions into its log when it refuses them. Why it refuses stands in ours.
        logging.getLogger("saml2").setLevel(logging.CRITICAL + 1)
        self.name = config.name
        self.title = config.title or config.name
        self.redirect_uri = config.redirect_uri
        self._config = config
        self._lock = threading.Lock()
        self._made: SPConfig | None = None
        self._made_again_at = float("-inf")
        self.pool = BoundedPool(config.threads, 8 * config.threads, "saml")

    async def probe(self) -> str:
        """Read the provider's metadata. Raises IdentityProviderAway."""
        await self.pool.run(self._client)
        return "its metadata can be read"

    async def authorize_url(self, *, redirect_uri: str, state: str, nonce: str, verifier: str) -> str:  # noqa: ARG002
        """Where the browser goes. Raises IdentityProviderAway."""
        return await self._in_time(lambda: self._request(state, _derive_id(nonce)))

    async def finish(self, *, code: str, redirect_uri: str, nonce: str, verifier: str) -> Principal:  # noqa: ARG002
        """Who came back; `code` is the form's `SAMLResponse`. Raises LoginRefused or IdentityProviderAway."""
        if len(code) > self._config.max_bytes:
            raise LoginRefused("Authentication failure: the provider's answer is too large")
        try:
            return await self._in_time(lambda: self._principal(code, _derive_id(nonce)))
        except BadResponse as error:
            log.warning("Login at %s refused: the response is not good: %s", self.name, error)
            raise LoginRefused("Authentication failure: the provider's answer is not good") from None

    async def _in_time(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.wait_for(self.pool.run(work), self._config.timeout_s)
        except TimeoutError:
            raise IdentityProviderAway("It takes too long", headers={"Retry-After": "5"}) from None

    def _request(self, state: str, request_id: str) -> str:
        them = self._config.idp_entity_id
        client = self._client()
        places = client.metadata.single_sign_on_service(them, BINDING_HTTP_REDIRECT)
        if not places:
            raise IdentityProviderAway("The provider's metadata names no address for logins by redirect")
        place = str(places[0]["location"])
        _, request = client.create_authn_request(
            place,
            message_id=request_id,
            assertion_consumer_service_url=self.redirect_uri,
            binding=BINDING_HTTP_POST,
            sign=False,
        )
        sent = client.apply_binding(BINDING_HTTP_REDIRECT, str(request), place, relay_state=state)
        return str(dict(sent["headers"])["Location"])

    def _principal(self, encoded: str, request_id: str) -> Principal:
        """Who that is. Raises BadResponse."""
        config, client = self._config, self._client()
        text = opened(encoded)
        try:
            response = client.parse_authn_request_response(encoded, BINDING_HTTP_POST, {request_id: "here"})
        except Exception as error:  # pysaml2 raises plain Exceptions too; whatever it is, it is not good
            raise BadResponse(f"{type(error).__name__} (SAML)") from None
        if response is None or response.assertion is None or response.xmlstr.strip() != text.strip():
            raise BadResponse("it cannot be verified")
        assertion = response.assertion
        if config.want_response_signed and response.response.signature is None:
            raise BadResponse("it is not signed")
        if config.want_assertions_signed and assertion.signature is None:
            raise BadResponse("its assertion is not signed")
        if response.in_response_to != request_id or response.issuer() not in ("", config.idp_entity_id):
            raise BadResponse("it answers another request, or comes from another provider")
        if response.response.destination not in (None, "", self.redirect_uri):
            raise BadResponse("it is for another address")
        check_assertion(
            assertion,
            us=config.entity_id,
            them=config.idp_entity_id,
            here=self.redirect_uri,
            request_id=request_id,
            skew_s=config.clock_skew_s,
        )
        return build_principal(assertion, config.attributes, self.name)

    def _client(self) -> Saml2Client:
        """A client for one use: pysaml2's remembers whoever logged in. The metadata is an hour old at most."""
        with self._lock:
            if time.monotonic() >= self._made_again_at:
                self._made_again_at = time.monotonic() + _RETRY_S
                try:
                    self._made = self._build_saml_config(self._metadata())
                except Exception as error:  # unreadable XML shows in many ways
                    log.warning("The metadata of %s cannot be read: %s", self.name, type(error).__name__)
                else:
                    self._made_again_at = time.monotonic() + _METADATA_S
            if self._made is None:
                raise IdentityProviderAway("The provider's metadata cannot be read", headers={"Retry-After": "30"})
            return Saml2Client(config=self._made)

    def _metadata(self) -> str:
        config = self._config
        if "://" not in config.metadata:
            return Path(config.metadata).read_text()
        response = httpx.get(config.metadata, timeout=config.timeout_s / 2, follow_redirects=False)
        response.raise_for_status()
        if len(response.content) > _METADATA_BYTES:
            raise ValueError
        return response.text

    def _build_saml_config(self, metadata: str) -> SPConfig:
        config = self._config
        made = SPConfig()
        made.load(
            {
                "entityid": config.entity_id,
                "xmlsec_binary": self._xmlsec,
                "metadata": {"inline": [metadata]},
                "accepted_time_diff": round(config.clock_skew_s),
                "allow_unknown_attributes": True,
                "only_use_keys_in_metadata": True,
                "service": {
                    "sp": {
                        "endpoints": {"assertion_consumer_service": [(self.redirect_uri, BINDING_HTTP_POST)]},
                        "allow_unsolicited": False,
                        "authn_requests_signed": False,
                        "want_assertions_signed": config.want_assertions_signed,
                        "want_response_signed": config.want_response_signed,
                    }
                },
            }
        )
        if config.idp_entity_id not in made.metadata.identity_providers():
            raise ValueError
        return made


def _derive_id(nonce: str) -> str:
    """The id of the request of a login. XML wants ids to begin with a letter or `_`."""
    return f"_{nonce}"
