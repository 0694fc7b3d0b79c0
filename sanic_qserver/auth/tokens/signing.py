"""Signed tokens of our own: one algorithm, a type that is checked, issuer and audience. Nothing else is accepted.

A token says who (session) and until when, never what they may do: that is the policy's, at each request.
"""

import base64
import hashlib
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OctKey

from sanic_qserver.errors import InvalidAccessToken

ALGORITHM = "HS256"
LONGEST = 8192


class TokenType(StrEnum):
    """What a token is for. One type never passes for another."""

    ACCESS = "access"
    REFRESH = "refresh"
    COOKIE = "cookie"


class Tokens:
    """Signs and reads tokens. The first of `secrets` signs, all verify: so keys are changed without a break."""

    def __init__(self, secrets: Sequence[str], *, issuer: str, audience: str, clock: Callable[[], float]) -> None:
        keys = [_key(secret) for secret in secrets]
        self._signing = keys[0]
        self._kid = str(keys[0].kid)
        self._keys = KeySet([*keys])
        self._issuer = issuer
        self._audience = audience
        self._clock = clock

    def sign(self, type_: TokenType, subject: str, age_s: float, **more: Any) -> str:
        """A token that lives for `age_s` seconds."""
        now = self._clock()
        claims = {
            "type": type_.value, "sub": subject, "iss": self._issuer, "aud": self._audience,
            "iat": int(now), "exp": int(now + age_s), **more,
        }  # fmt: skip
        return jwt.encode({"alg": ALGORITHM, "kid": self._kid}, claims, self._signing)

    def is_ours(self, token: str) -> bool:
        """Whether a token says that it comes from here. It may lie: only `read` tells."""
        if len(token) > LONGEST:
            return False
        header, claims = _peek(token)
        return header.get("alg") == ALGORITHM and claims.get("iss") == self._issuer

    def read(self, token: str, type_: TokenType) -> dict[str, Any]:
        """The claims of a good token, `exp` among them; it may have expired: the caller says how that is told.

        Raises InvalidAccessToken for any other.
        """
        if len(token) > LONGEST:
            raise InvalidAccessToken
        try:
            claims: dict[str, Any] = jwt.decode(token, self._keys, algorithms=[ALGORITHM]).claims
        except (JoseError, ValueError, TypeError, KeyError):
            raise InvalidAccessToken from None
        good = (
            claims.get("type") == type_.value
            and claims.get("iss") == self._issuer
            and claims.get("aud") == self._audience
            and isinstance(claims.get("exp"), int)
            and isinstance(claims.get("sub"), str)
        )
        if not good:
            raise InvalidAccessToken
        return claims

    def csrf(self, session: str) -> str:
        """The value that a page of ours sends with what changes something; it fits one session only."""
        return hashlib.blake2b(session.encode(), key=self._secret, digest_size=24, person=b"qserver-csrf").hexdigest()

    @property
    def _secret(self) -> bytes:
        return base64.urlsafe_b64decode(str(self._signing.as_dict(private=True)["k"]) + "==")


def _key(secret: str) -> OctKey:
    """A key of the right length from a secret of any; its id tells nothing of the secret."""
    digest = hashlib.sha256(b"sanic-qserver tokens\0" + secret.encode()).digest()
    kid = hashlib.sha256(b"kid\0" + digest).hexdigest()[:8]
    return OctKey.import_key(digest, {"kid": kid, "use": "sig", "alg": ALGORITHM})


def _peek(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    parts = token.split(".")
    if len(parts) != 3:
        return {}, {}
    return _part(parts[0]), _part(parts[1])


def _part(text: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, msgspec.DecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
