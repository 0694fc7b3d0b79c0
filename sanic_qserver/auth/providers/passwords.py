"""Password hashes (argon2id), in a bounded pool: a burst of logins never stalls other requests.

A hash takes tens of milliseconds and megabytes on purpose. So few run at once, some wait, and the rest are refused
with `Retry-After`. argon2 releases the interpreter's lock.
"""

import hmac
import secrets

from argon2 import PasswordHasher, Type, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError

from sanic_qserver.config.logins import PasswordsConfig
from sanic_qserver.threads import BoundedPool

HASH_PREFIX = "$argon2id$"
_SALT_BYTES, _HASH_BYTES = 8, (16, 24, 32, 48, 64)


class Passwords:
    """Verifies passwords against hashes. An unknown user costs the same time as a known one."""

    def __init__(self, config: PasswordsConfig) -> None:
        self._hasher = build_hasher(config)
        self._pool = BoundedPool(config.threads, config.queue_limit, "argon2")
        self._nobody = self._hasher.hash(secrets.token_hex(16))

    async def verify(self, hash_: str | None, password: str) -> bool:
        """Whether the password is the one that was hashed. None is an unknown user: False, after as long."""
        good = await self._pool.run(lambda: self._matches(hash_ or self._nobody, password))
        return good and hash_ is not None

    async def verify_plain(self, kept: str, password: str) -> bool:
        """The same for a password that is kept as it is (configurations of today's deployments)."""
        await self._pool.run(lambda: self._matches(self._nobody, password))
        return hmac.compare_digest(kept.encode(), password.encode())

    def _matches(self, hash_: str, password: str) -> bool:
        try:
            return self._hasher.verify(hash_, password)
        except (VerificationError, InvalidHashError, UnicodeEncodeError):
            return False

    def close(self) -> None:
        """End the threads."""
        self._pool.close()


def build_hasher(config: PasswordsConfig) -> PasswordHasher:
    """argon2id with the configured cost."""
    return PasswordHasher(
        time_cost=config.time_cost, memory_cost=config.memory_kib, parallelism=config.parallelism, type=Type.ID
    )


def is_whole(hash_: str) -> bool:
    """Whether a hash is one: neither an example with dots in it nor cut off."""
    try:
        parameters = extract_parameters(hash_)
        hash_.encode("ascii")
    except (InvalidHashError, ValueError):
        return False
    return parameters.salt_len >= _SALT_BYTES and parameters.hash_len in _HASH_BYTES
