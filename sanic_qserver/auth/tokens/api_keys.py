"""API keys: secrets for programs, kept as hashes. A key never grants more than its owner holds."""

import hashlib
import secrets
from collections.abc import Callable

import msgspec

from sanic_qserver.auth.storage.records import INHERIT, KeyRecord, Known
from sanic_qserver.auth.storage.store import Store
from sanic_qserver.auth.tokens.credential_cache import CredentialCache
from sanic_qserver.structs.auth_replies import NewApiKey, time_text
from sanic_qserver.structs.identity import SINGLE_USER, Credential, CredentialKind, Principal

_SECRET_BYTES = 36
_LONGEST = 512


class ApiKeys:
    """Makes, recognises and deletes keys."""

    sees_only_value = True

    def __init__(
        self,
        store: Store,
        credential_cache: CredentialCache,
        limit: int,
        clock: Callable[[], float],
        *,
        refuses_single_user: bool = False,
    ) -> None:
        """`refuses_single_user`: keys from before there were logins are not known any more."""
        self._refuses_single_user = refuses_single_user
        self._store = store
        self._credential_cache = credential_cache
        self._limit = limit
        self._clock = clock
        self._used: dict[str, float] = {}

    async def make(
        self,
        known: Known,
        scopes: tuple[str, ...],
        note: str | None,
        age_s: float | None,
        ends_at: float | None = None,
    ) -> NewApiKey:
        """A new key for somebody. `age_s` None means until deleted, but not beyond `ends_at` (POSIX).

        Raises Conflict at the limit.
        """
        secret = secrets.token_hex(_SECRET_BYTES)
        now = self._clock()
        ends = (None if age_s is None else now + age_s, ends_at)
        expires_at = min((at for at in ends if at is not None), default=None)
        record = KeyRecord(
            hash=hash_secret(secret),
            first_eight=secret[:8],
            scopes=scopes,
            note=note,
            created_at=now,
            expires_at=expires_at,
        )
        await self._store.add_key(known, record, self._limit)
        return NewApiKey(
            secret=secret,
            first_eight=secret[:8],
            expiration_time=time_text(expires_at),
            note=note,
            scopes=list(scopes),
        )

    async def delete(self, first_eight: str, owner_uuid: str) -> bool:
        """Take a key away, in every worker within a second. False when the owner has none that begins so."""
        done = await self._store.delete_key(first_eight, owner_uuid)
        self._credential_cache.forget()
        return done

    async def identify(self, credential: Credential) -> Principal | None:
        """Whose key this is; None for one that is not known here."""
        if credential.kind is not CredentialKind.API_KEY or len(credential.value) > _LONGEST:
            return None
        hash_ = hash_secret(credential.value)
        principal = self._credential_cache.get(hash_)
        if principal is None:
            version = self._credential_cache.version
            found = await self._store.key(hash_)
            if found is None:
                return None
            owner, row = found
            if self._refuses_single_user and owner.provider == SINGLE_USER.provider:
                return None
            scopes = tuple(row.scopes)
            principal = msgspec.structs.replace(
                owner,
                key_id=row.first_eight,
                key_scopes=None if scopes == (INHERIT,) else frozenset(scopes),
                expires_at=row.expires_at,
            )
            self._credential_cache.put(hash_, principal, version)
        self._used[hash_] = self._clock()
        return principal

    def used(self) -> dict[str, float]:
        """Keys (by hash) that were used since this was last asked, and when."""
        used, self._used = self._used, {}
        return used


def hash_secret(secret: str) -> str:
    """What is kept of a key. It is 36 random bytes, so that one fast hash is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()
