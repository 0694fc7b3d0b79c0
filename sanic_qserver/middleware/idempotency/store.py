"""Which store of Idempotency-Keys the configuration asks for."""

from pathlib import Path

from sanic_qserver.config.settings import Config
from sanic_qserver.middleware.idempotency.claims import Claims
from sanic_qserver.middleware.idempotency.keys import KeyStore
from sanic_qserver.middleware.idempotency.memory import MemoryKeys
from sanic_qserver.middleware.idempotency.redis import RedisKeys
from sanic_qserver.middleware.idempotency.sqlite import SqliteKeys

FILE = "idempotency.sqlite"
_SQLITE = "sqlite:///"


def build_claims(config: Config) -> Claims:
    """The keys that are claimed in the store that is configured. Raises ConfigError."""
    return Claims(_build_store(config))


def _build_store(config: Config) -> KeyStore:
    store = config.idempotency.store
    if store == "memory":
        return MemoryKeys(config.idempotency)
    if store == "sqlite":
        return SqliteKeys(_folder(config) / FILE, config.idempotency)
    if store.startswith(_SQLITE):
        return SqliteKeys(config.folder / store.removeprefix(_SQLITE), config.idempotency)
    return (
        RedisKeys(config.idempotency, config.replicas.name)
        if store == config.replicas.redis
        else RedisKeys(config.idempotency)
    )


def _folder(config: Config) -> Path:
    """Where the logins are, if they are in a file; else where the configuration is."""
    url = config.database.url
    file = url.removeprefix(_SQLITE) if url.startswith(_SQLITE) else ""
    return (config.folder / file).parent if file and file != ":memory:" else config.folder
