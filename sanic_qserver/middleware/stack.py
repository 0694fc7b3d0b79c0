"""What rows declare to be surrounded by, checked and put around them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial

from sanic_qserver.api.around import AUDITED, HOOKED, IDEMPOTENT, NEEDED, OWNED, QUOTA, REVIEWED, STAMPED, Around
from sanic_qserver.api.endpoint import Endpoint, LinesEndpoint, Serve, Stamp
from sanic_qserver.errors import ConfigError
from sanic_qserver.middleware.audit.recording import audited, denials_audited
from sanic_qserver.middleware.hooked import hooked
from sanic_qserver.middleware.hooks import Hooks
from sanic_qserver.middleware.idempotency.claims import Claims
from sanic_qserver.middleware.idempotency.lines import idempotent_lines
from sanic_qserver.middleware.idempotency.replay import idempotent
from sanic_qserver.middleware.metadata import stamped
from sanic_qserver.middleware.ownership import owned
from sanic_qserver.middleware.quotas import within_quota
from sanic_qserver.middleware.review import reviewed

Layer = Callable[[Endpoint, Serve], Serve]

_ADDRESS = ("pos", "uid")
_FIELDS: Mapping[tuple[str, Around], tuple[str, ...]] = {
    ("queue_item_add", REVIEWED): ("item",),
    ("queue_item_add_batch", REVIEWED): ("items",),
    ("queue_item_add", HOOKED): ("item",),
    ("queue_item_add_batch", HOOKED): ("items",),
    ("queue_item_execute", HOOKED): ("item",),
    ("queue_item_update", HOOKED): ("item",),
    ("function_execute", HOOKED): ("item",),
    ("queue_item_add", STAMPED): ("item",),
    ("queue_item_add_batch", STAMPED): ("items",),
    ("queue_item_execute", STAMPED): ("item",),
    ("queue_item_update", STAMPED): ("item",),
    ("queue_item_add_batch", QUOTA): ("items",),
    ("queue_item_update", OWNED): ("item",),
    ("queue_item_remove", OWNED): _ADDRESS,
    ("queue_item_move", OWNED): _ADDRESS,
    ("queue_item_remove_batch", OWNED): ("uids",),
    ("queue_item_move_batch", OWNED): ("uids",),
}
"""The params that a layer looks at."""


class Middleware:
    """The layers of one application, made once from what they work with."""

    def __init__(self, hooks: Hooks, claims: Claims) -> None:
        self._claims = claims
        self._layers: Mapping[Around, Layer] = {
            AUDITED: audited,
            IDEMPOTENT: partial(idempotent, claims),
            REVIEWED: reviewed,
            HOOKED: partial(hooked, hooks),
            QUOTA: within_quota,
            OWNED: owned,
            STAMPED: stamped,
        }

    def surround(self, rows: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
        """The rows as they are served. Raises ConfigError for one whose declaration breaks a rule."""
        return tuple(self._lines(row) if isinstance(row, LinesEndpoint) else self._plain(row) for row in rows)

    def _plain(self, row: Endpoint) -> Endpoint:
        check_around(row)
        serve = row.serve
        for layer in reversed(row.around):
            serve = self._layers[layer](row, serve)
        return replace(row, serve=serve if AUDITED in row.around else denials_audited(row, serve))

    def _lines(self, row: LinesEndpoint) -> LinesEndpoint:
        check_around(row)
        if IDEMPOTENT not in row.around:
            return row
        return replace(row, serve_lines=idempotent_lines(self._claims, row, row.serve_lines))


def check_around(row: Endpoint) -> None:
    """Raises ConfigError, naming the row, when what it declares breaks a rule."""
    name = f"{row.verb} {row.path}"
    if row.around != tuple(layer for layer in Around if layer in row.around):
        raise ConfigError(f"{name}: around must keep the order {_names(Around)}, each once")
    declared = (*row.around, *row.inside)
    needed = NEEDED.get(row.method, ())
    if row.changes or needed:
        needed = (AUDITED, *needed)
    if missing := [layer for layer in needed if layer not in declared]:
        raise ConfigError(f"{name}: a row with RE Manager's method '{row.method}' needs around {_names(missing)} too")
    if row.domain == "auth" and IDEMPOTENT in declared:
        raise ConfigError(f"{name}: replies of logins hold secrets, which no store of replies may keep")
    if isinstance(row, LinesEndpoint) and set(row.around) > {IDEMPOTENT}:
        raise ConfigError(f"{name}: lines cannot be surrounded: what the row does for them stands in inside")
    _check_fields(row, name)


def _check_fields(row: Endpoint, name: str) -> None:
    fields = row.params.__struct_fields__
    for layer in row.around:
        if absent := [field for field in _FIELDS.get((row.method, layer), ()) if field not in fields]:
            raise ConfigError(
                f"{name}: its params have no {' and no '.join(map(repr, absent))}, so that it cannot be {layer.value}. "
                f"Give them the params of '{row.method}', or leave the method out and use host.manager_as(call)"
            )
    if HOOKED in row.around and OWNED in row.around and row.stamp is not Stamp.CALLER:
        raise ConfigError(f"{name}: items are submitted in the caller's name: it needs stamp=Stamp.CALLER")
    if absent := [field for field in row.stamp.value if field not in fields]:
        raise ConfigError(f"{name}: {row.stamp} writes over params that it does not have: {', '.join(absent)}")


def _names(layers: Iterable[Around]) -> str:
    return ", ".join(layer.value for layer in layers)
