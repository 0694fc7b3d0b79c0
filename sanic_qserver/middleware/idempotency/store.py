"""Which store of Idempotency-Keys the configuration asks for."""

import os
from collections.abc import Iterator
from pathlib import Path

from sanic_qserver.config.settings import Config
from sanic_qserver.errors import ConfigError
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


def warn_of_store(config: Config) -> Iterator[str]:
    """Say that the file of keys cannot be written, before the first key does. Raises ConfigError when it is named."""
    file = _file(config)
    if file is None or os.access(file if file.exists() else file.parent, os.W_OK):
        return
    text = f"[idempotency] store: {file} cannot be written: name a file that can, or the URL of a Redis"
    if config.idempotency.store != "sqlite":
        raise ConfigError(text)
    yield f"{text}. Until then calls with an Idempotency-Key are refused (503)"


def _build_store(config: Config) -> KeyStore:
    store = config.idempotency.store
    if store == "memory":
        return MemoryKeys(config.idempotency)
    if (file := _file(config)) is not None:
        return SqliteKeys(file, config.idempotency)
    return (
        RedisKeys(config.idempotency, config.replicas.name)
        if store == config.replicas.redis
        else RedisKeys(config.idempotency)
    )


def _file(config: Config) -> Path | None:
    """The file of keys; None when they are elsewhere."""
    store = config.idempotency.store
    if store == "sqlite":
        return _folder(config) / FILE
    return config.folder / store.removeprefix(_SQLITE) if store.startswith(_SQLITE) else None


def _folder(config: Config) -> Path:
    """Where the logins are, if they are in a file; else where the configuration is."""
    url = config.database.url
    file = url.removeprefix(_SQLITE) if url.startswith(_SQLITE) else ""
    return (config.folder / file).parent if file and file != ":memory:" else config.folder
