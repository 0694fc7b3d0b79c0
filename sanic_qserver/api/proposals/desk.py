"""The proposals of an application: opened by the first who needs them, swept, settled and told to who watches.

SQLAlchemy, which the store brings, costs half a second and 25 MB: servers on which nobody proposes save that. A server
that finds proposals of before opens them at start, since approvals may have been cut off.
"""

import asyncio
import logging
from typing import TYPE_CHECKING

from sanic_qserver.config.settings import Config
from sanic_qserver.errors import GatewayError
from sanic_qserver.manager.client.client import ManagerClient
from sanic_qserver.manager.live.event_log import EventLog
from sanic_qserver.middleware.hooks import Hooks
from sanic_qserver.structs.proposals import Proposal
from sanic_qserver.tasks import end_tasks

if TYPE_CHECKING:
    from sanic_qserver.api.proposals.approval import Approvals
    from sanic_qserver.api.proposals.store import ProposalStore
    from sanic_qserver.auth.storage.database import Database

log = logging.getLogger("sanic_qserver.proposals")

TOPIC = "proposals"
FILE = "proposals.sqlite"
_SWEEP_S = 5.0


class Proposals:
    """Store and approvals, once they are open. One an application."""

    def __init__(self, config: Config, manager: ManagerClient, hooks: Hooks, events: EventLog) -> None:
        self._config = config
        self._manager = manager
        self._hooks = hooks
        self._events = events
        self._opening = asyncio.Lock()
        self._database: Database | None = None
        self._parts: tuple[ProposalStore, Approvals] | None = None
        self._sweeping: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether somebody has proposed something, now or before."""
        return self._parts is not None

    async def start(self) -> None:
        """Open what is there from before."""
        if (self._config.folder / FILE).exists() or self._config.database.url:
            await self.open()

    async def open(self) -> "tuple[ProposalStore, Approvals]":
        """The store and the approvals. Raises ConfigError when the database cannot be opened."""
        async with self._opening:
            if self._parts is None:
                from sanic_qserver.api.proposals.approval import Approvals  # noqa: PLC0415  # SQLAlchemy
                from sanic_qserver.api.proposals.store import ProposalStore  # noqa: PLC0415
                from sanic_qserver.auth.storage.database import Database  # noqa: PLC0415

                url = self._config.database.url or f"sqlite:///{self._config.folder / FILE}"
                self._database = Database(self._config.database, url)
                await self._database.upgrade()
                store = ProposalStore(self._database)
                self._parts = store, Approvals(store, self._manager, self._hooks, self.tell_ended)
                self._sweeping = asyncio.get_running_loop().create_task(self._sweep())
        return self._parts

    async def store(self) -> "ProposalStore":
        """The store."""
        return (await self.open())[0]

    async def find(self, key: str) -> Proposal | None:
        """The proposal of this id, unless it is older than what Idempotency-Keys are remembered for."""
        return await (await self.store()).find(key, self._config.idempotency.keep_s)

    async def close(self) -> None:
        """Stop, and give the connections back."""
        await end_tasks(self._sweeping)  # It gives its connection back first.
        if self._parts is not None:
            await self._parts[1].close()
        if self._database is not None:
            await self._database.close()

    def tell(self, kind: str, proposal: Proposal, **more: str) -> None:
        """Tell who watches: those who decide, and the proposer."""
        data = {
            "id": proposal.id,
            "version": proposal.version,
            "state": proposal.state,
            "title": proposal.title,
            "proposer": proposal.proposer,
            "reason": proposal.reason,
            **more,
        }
        self._events.publish(TOPIC, kind, data, audience=(f"{proposal.provider}/{proposal.proposer}",))

    def tell_ended(self, proposal: Proposal) -> None:
        """Tell how an approval ended."""
        self.tell("approved" if proposal.state == "queued" else "changed", proposal)

    async def _sweep(self) -> None:
        """Expire what is over, and settle what was cut off."""
        store, approvals = await self.open()
        while True:
            try:
                for proposal in await store.expire():
                    self.tell("expired", proposal)
                await approvals.settle_abandoned()
            except GatewayError as error:
                log.warning("Proposals: %s", error.detail)
            await asyncio.sleep(_SWEEP_S)
