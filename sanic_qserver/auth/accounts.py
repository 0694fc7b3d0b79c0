"""Everything that needs the database of logins: sessions, keys, attempts, and background tasks.

Imported only when there are logins or a database: it brings SQLAlchemy.
"""

import asyncio
import logging
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from sanic_qserver.auth.storage.database import Database, DatabaseAway
from sanic_qserver.auth.storage.store import Store
from sanic_qserver.auth.tokens.api_keys import ApiKeys
from sanic_qserver.auth.tokens.attempts import Attempts
from sanic_qserver.auth.tokens.credential_cache import CredentialCache
from sanic_qserver.auth.tokens.one_time import StoredOneTime
from sanic_qserver.auth.tokens.sessions import Sessions
from sanic_qserver.auth.tokens.signing import Tokens
from sanic_qserver.config.settings import Config
from sanic_qserver.errors import ConfigError, GatewayError
from sanic_qserver.tasks import end_tasks

log = logging.getLogger("sanic_qserver.auth")

_POLL_S = 0.4  # With the gate's memory of 0.5 s a revocation is known everywhere within a second.
_WRITE_ACTIVITY_S = 30.0
_PURGE_S = 3600.0


class Accounts:
    """One a process. `open` makes or updates the tables and starts the tasks; `close` ends them."""

    def __init__(self, config: Config, clock: Callable[[], float]) -> None:
        self._config = config
        self._clock = clock
        self.database = Database(config.database, database_url(config))
        self.store = Store(
            self.database,
            clock,
            folding=config.auth.folding,
            claims_max_age_s=config.auth.tokens.claims_max_age_s,
        )
        self.facts: frozenset[str] = frozenset()
        self.credential_cache = CredentialCache(clock)
        tokens = config.auth.tokens
        self.tokens = Tokens(_secrets(config), issuer=tokens.issuer, audience=tokens.audience, clock=clock)
        self.sessions = Sessions(self.store, self.tokens, self.credential_cache, config.auth, clock)
        self.keys = ApiKeys(
            self.store,
            self.credential_cache,
            tokens.max_api_keys,
            clock,
            refuses_single_user=bool(config.auth.providers),
        )
        self.attempts = Attempts(self.database, config.auth.attempts, clock)
        self.one_time = StoredOneTime(self.database, clock)
        self.is_away = False
        self._epoch = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Raises ConfigError when the database cannot be opened."""
        await self.database.upgrade()
        try:
            self.facts = await self.store.settle()
            self._epoch = await self.store.epoch()
        except DatabaseAway as error:  # It went away since.
            raise self.database.refused(error) from None
        self.credential_cache.heard()
        self._tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._keep_house())]

    async def close(self) -> None:
        """Stop the tasks, write what is left."""
        await end_tasks(*self._tasks)
        try:
            await self._write_activity()
        except GatewayError:
            log.warning("The last use of some API keys was not written: the database does not answer")
        await self.database.close()

    async def _watch(self) -> None:
        """Hear of revocations that other workers made."""
        while True:
            try:
                found = await self.store.epoch()
            except GatewayError:
                if not self.is_away:
                    log.error("The database of logins does not answer")  # noqa: TRY400  # the trace says nothing
                self.is_away = True
            else:
                self.is_away = False
                self.credential_cache.heard()
                if found != self._epoch:
                    self._epoch = found
                    self.credential_cache.forget()
            await asyncio.sleep(_POLL_S)

    async def _keep_house(self) -> None:
        purge_at = 0.0
        while True:
            await asyncio.sleep(_WRITE_ACTIVITY_S)
            try:
                await self._write_activity()
                if self._clock() >= purge_at:
                    await self.store.purge(self._config.auth.attempts.forget_after_s)
                    purge_at = self._clock() + _PURGE_S
            except GatewayError:
                continue  # `_watch` has said that the database is away.

    async def _write_activity(self) -> None:
        keys, people = self.keys.used(), self.credential_cache.seen()
        if keys or people:
            await self.store.write_activity(keys, people)


def database_url(config: Config) -> str:
    """The configured URL, or a file beside `config.toml`."""
    return config.database.url or f"sqlite:///{config.folder / 'sanic_qserver.sqlite'}"


def secret_file(config: Config) -> Path:
    """Where the secret of tokens is kept when none is configured: beside an SQLite database. Raises ConfigError."""
    url = database_url(config)
    if not url.startswith("sqlite") or ":memory:" in url:
        raise ConfigError("[auth] secret_keys: give one (openssl rand -hex 32), so that all workers and replicas agree")
    return Path(url.partition("///")[2].partition("?")[0] + ".secret")


def _secrets(config: Config) -> tuple[str, ...]:
    """The configured keys of tokens, or one that is made once and kept beside an SQLite database."""
    if config.auth.secret_keys:
        return config.auth.secret_keys
    file = secret_file(config)
    try:
        return (_kept_secret(file),)
    except OSError as error:
        raise ConfigError(f"[auth] secret_keys: none given, and {file}: {error.strerror}") from None


def _kept_secret(file: Path) -> str:
    """Read the secret, or make it: written whole before it gets its name, so that nobody reads half of it."""
    if not file.exists():
        made = file.with_name(f"{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as writer:
            writer.write(secrets.token_hex(32))
        try:
            os.link(made, file)
        except FileExistsError:
            pass  # Another worker was first: its secret stands.
        finally:
            made.unlink()
    return file.read_text("utf-8").strip()
