"""Validates rows of extensions when they are added. An error names the path and fails only its own extension."""

from typing import get_type_hints

import msgspec

from sanic_qserver.api.endpoint import Endpoint, Stream
from sanic_qserver.errors import ConfigError
from sanic_qserver.middleware.hooks import is_async
from sanic_qserver.middleware.stack import check_around
from sanic_qserver.scopes import Scope
from sanic_qserver.structs.requests import Params

VERBS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def check_row(row: Endpoint) -> None:
    """Raises ConfigError for a row that cannot be served."""
    for verb, path in ((row.verb, row.path), *row.aliases):
        if verb not in VERBS:
            raise ConfigError(f"{path}: '{verb}' is none of {', '.join(VERBS)}")
        _check(path, row.scope, row.params)
    if not is_async(row.serve):
        raise ConfigError(f"{row.path}: the serving function must be `async def`")
    if row.inside:
        raise ConfigError(f"{row.path}: inside is for the server's own rows")
    check_around(row)


def check_stream(row: Stream) -> None:
    """Raises ConfigError for a stream that cannot be served."""
    _check(row.path, row.scope, row.params)


def _check(path: str, scope: Scope | None, params: type[Params]) -> None:
    if not path.startswith("/") or path != path.rstrip("/") or path.startswith("/api/"):
        raise ConfigError(f"{path}: a path begins with / and does not end with it; /api is put before it by the server")
    if scope is not None and scope not in set(Scope):
        raise ConfigError(f"{path}: there is no scope '{scope}'")
    if not issubclass(params, Params):
        raise ConfigError(f"{path}: {params.__name__} must be a subclass of Params")
    try:
        get_type_hints(params)
        msgspec.json.Decoder(params)
        msgspec.json.schema(params)
    except Exception as error:
        raise ConfigError(f"{path}: {params.__name__} cannot be used: {type(error).__name__}: {error}") from error
