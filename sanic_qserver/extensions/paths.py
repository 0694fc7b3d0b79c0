"""Which extension owns which path. Two that claim the same path are an error that names both."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sanic_qserver.api.endpoint import Endpoint, Stream
from sanic_qserver.errors import ConfigError
from sanic_qserver.extension_api.contribution import Contribution

Claim = tuple[str, str]  # verb and path; path parameters are all alike
SERVER = "the server"
RESERVED = ("/", "/healthz", "/readyz", "/metrics", "/docs", "/docs/assets/<>", "/openapi.json", "/api/openapi.json")


class Claims:
    """The owner of every (verb, path)."""

    def __init__(self) -> None:
        self.owners: dict[Claim, str] = {("GET", path): SERVER for path in RESERVED}
        self.blueprint_names: dict[str, str] = {}
        self.row_names: dict[str, str] = {}

    @classmethod
    def start_with_server(cls, endpoints: Iterable[Endpoint], streams: Iterable[Stream]) -> "Claims":
        """The paths that the server itself serves."""
        claims = cls()
        rows = list(endpoints)
        claims.row_names.update((row.name, SERVER) for row in rows)
        claims.owners.update(dict.fromkeys(_claim_rows(rows, streams), SERVER))
        claims.blueprint_names.update(dict.fromkeys((row.domain for row in rows), SERVER))
        return claims

    def add(self, contribution: Contribution) -> None:
        """Claim all paths of an extension, or none. Raises ConfigError, naming both owners, when one is taken."""
        claims = list(_claim_rows(contribution.endpoints, contribution.streams))
        for mounted in contribution.blueprints:
            claims.extend(_claim_blueprint(mounted.blueprint))
        mine: set[Claim] = set()
        for verb, path in claims:
            owner = self.owners.get((verb, path), contribution.module if (verb, path) in mine else None)
            if owner is not None:
                raise ConfigError(f"'{contribution.module}' and {_quoted(owner)} both claim {verb} {path}")
            mine.add((verb, path))
        blueprints = [name for mounted in contribution.blueprints for name in _names(mounted.blueprint)]
        # Rows are mounted as blueprints too, one for each first segment of a path; existing ones may be extended.
        new = {row.domain for row in contribution.endpoints} - self.blueprint_names.keys()
        self._refuse_taken(contribution.module, "a blueprint", [*blueprints, *new], self.blueprint_names)
        rows = [row.name for row in contribution.endpoints] + [row.name for row in contribution.streams]
        self._refuse_taken(contribution.module, "a row named", rows, self.row_names)
        self.owners.update(dict.fromkeys(mine, contribution.module))
        self.row_names.update(dict.fromkeys(rows, contribution.module))
        self.blueprint_names.update(dict.fromkeys([*blueprints, *new], contribution.module))

    def _refuse_taken(self, module: str, what: str, names: Sequence[str], owners: Mapping[str, str]) -> None:
        for name in names:
            if name in owners or names.count(name) > 1:
                raise ConfigError(f"'{module}' and {_quoted(owners.get(name, module))} both have {what} '{name}'")


def _quoted(owner: str) -> str:
    return owner if owner == SERVER else f"'{owner}'"


def _normalize(path: str) -> str:
    return re.sub(r"<[^>]*>", "<>", "/" + path.strip("/"))


def _claim_rows(endpoints: Iterable[Endpoint], streams: Iterable[Stream]) -> Iterator[Claim]:
    pairs = [(verb, path, row.at_root) for row in endpoints for verb, path in ((row.verb, row.path), *row.aliases)]
    pairs += [("GET", row.path, row.at_root) for row in streams]
    for verb, path, at_root in pairs:
        for prefix in ("/api", "") if at_root else ("/api",):
            yield verb, _normalize(prefix + path)


def _claim_blueprint(blueprint: Any, prefix: str = "") -> Iterator[Claim]:
    own = prefix + (blueprint.url_prefix or "")
    if hasattr(blueprint, "blueprints"):
        for one in blueprint.blueprints:
            yield from _claim_blueprint(one, own)
        return
    # Private, but the only way to see the routes of a blueprint that is not registered yet.
    for route in blueprint._future_routes:  # noqa: SLF001
        version = route.version if route.version is not None else blueprint.version
        where = f"/v{version}" if version is not None else ""
        for verb in route.methods or ("GET",):
            yield str(verb), _normalize(where + own + "/" + str(route.uri).lstrip("/"))


def _names(blueprint: Any) -> Sequence[str]:
    if hasattr(blueprint, "blueprints"):
        return [name for one in blueprint.blueprints for name in _names(one)]
    return [blueprint.name]
