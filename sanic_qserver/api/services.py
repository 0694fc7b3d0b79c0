"""What the rows are served with: one object an application, made at start, closed at stop."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sanic_qserver.api.bulk.state import Bulks
from sanic_qserver.api.endpoint import Endpoint
from sanic_qserver.api.items.verdicts import Validation
from sanic_qserver.api.proposals.desk import Proposals
from sanic_qserver.api.spreadsheets.readers import SheetReaders
from sanic_qserver.auth.logins import Logins
from sanic_qserver.config.settings import Config
from sanic_qserver.manager.client.client import ManagerClient
from sanic_qserver.manager.console.output import Console
from sanic_qserver.manager.live.live import Live
from sanic_qserver.manager.publications import PublicationSource
from sanic_qserver.manager.read_cache import ReadCache
from sanic_qserver.middleware.audit.sinks import Audit
from sanic_qserver.middleware.hooks import Hooks
from sanic_qserver.middleware.idempotency.claims import Claims
from sanic_qserver.policy.protocols import RatePolicy
from sanic_qserver.shared_state.edit_lock import EditLock
from sanic_qserver.shared_state.watch import RedisWatch


@dataclass(frozen=True, kw_only=True)
class Services:
    """The long-lived parts that rows use: complete once made, nothing has a default.

    `rates` counts what batches cost; `queue_edits` is held by edits that depend on what was read before.
    `metrics` gives the text for Prometheus. `rows` are those that are served, for rows that use others.
    `redis_watch`: of the Redis that replicas share; None for a server that is alone.
    `warnings` stand in `/readyz` until they are put right.
    """

    config: Config
    logins: Logins
    manager: ManagerClient
    reads: ReadCache
    publications: PublicationSource
    console: Console
    live: Live
    validation: Validation
    proposals: Proposals
    metrics: Callable[[], Awaitable[bytes]]
    warnings: list[str]
    hooks: Hooks
    sheet_readers: SheetReaders
    claims: Claims
    bulks: Bulks
    rows: tuple[Endpoint, ...]
    rates: RatePolicy
    audit: Audit
    queue_edits: EditLock
    redis_watch: RedisWatch | None
