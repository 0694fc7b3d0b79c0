"""What the rows are served with: one object an application, made at start, closed at stop."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from sanic_qserver.api.bulk.state import Bulks
from sanic_qserver.api.endpoint import Endpoint
from sanic_qserver.api.items.verdicts import Validation
from sanic_qserver.api.spreadsheets.readers import SheetReaders
from sanic_qserver.auth.logins import Logins
from sanic_qserver.config.settings import AuditConfig, Config
from sanic_qserver.manager.client.client import ManagerClient
from sanic_qserver.manager.console.output import Console
from sanic_qserver.manager.live.live import Live
from sanic_qserver.manager.publications import Publications
from sanic_qserver.manager.read_cache import Reads
from sanic_qserver.middleware.audit.sinks import Audit
from sanic_qserver.middleware.hooks import NO_HOOKS, Hooks
from sanic_qserver.middleware.idempotency.stored import KeptAnswers, NoAnswers
from sanic_qserver.policy.protocols import NoRateLimits, RatePolicy


@dataclass
class Services:
    """The long-lived parts that rows use.

    `rates` counts what batches cost; `queue_edits` is held by edits that depend on what was read before.
    `metrics` gives the text for Prometheus. `rows` are those that are served, for rows that use others.
    `warnings` stand in `/readyz` until they are put right.
    """

    config: Config
    logins: Logins
    manager: ManagerClient
    reads: Reads
    publications: Publications
    console: Console
    live: Live
    validation: Validation
    metrics: Callable[[], bytes] = bytes
    warnings: list[str] = field(default_factory=list)
    hooks: Hooks = NO_HOOKS
    sheet_readers: SheetReaders = field(default_factory=SheetReaders)
    answers: KeptAnswers = field(default_factory=NoAnswers)
    bulks: Bulks = field(default_factory=Bulks)
    rows: tuple[Endpoint, ...] = ()
    rates: RatePolicy = field(default_factory=NoRateLimits)
    audit: Audit = field(default_factory=lambda: Audit(AuditConfig()))
    queue_edits: asyncio.Lock = field(default_factory=asyncio.Lock)
