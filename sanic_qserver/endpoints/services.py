"""What the rows are served with: one object an application, made at start, closed at stop."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sanic_qserver.auth.logins import Logins
from sanic_qserver.config import AuditConfig, Config
from sanic_qserver.endpoints.answers import KeptAnswers, NoAnswers
from sanic_qserver.endpoints.bulk_state import Bulks
from sanic_qserver.endpoints.hooks import NO_HOOKS, Hooks
from sanic_qserver.endpoints.spreadsheets.readers import SheetReaders
from sanic_qserver.manager.client import ManagerClient
from sanic_qserver.manager.console import Console
from sanic_qserver.manager.live import Live
from sanic_qserver.manager.publications import Publications
from sanic_qserver.manager.reads import Reads
from sanic_qserver.policy.access import NoRateLimits, RatePolicy
from sanic_qserver.policy.audit import Audit

if TYPE_CHECKING:
    from sanic_qserver.endpoints.endpoint import Endpoint  # which imports this module


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
    metrics: Callable[[], bytes] = bytes
    warnings: list[str] = field(default_factory=list)
    hooks: Hooks = NO_HOOKS
    sheet_readers: SheetReaders = field(default_factory=SheetReaders)
    answers: KeptAnswers = field(default_factory=NoAnswers)
    bulks: Bulks = field(default_factory=Bulks)
    rows: tuple["Endpoint", ...] = ()
    rates: RatePolicy = field(default_factory=NoRateLimits)
    audit: Audit = field(default_factory=lambda: Audit(AuditConfig()))
    queue_edits: asyncio.Lock = field(default_factory=asyncio.Lock)
