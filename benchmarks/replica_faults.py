"""What goes wrong in `rolling.py --chaos`: each part of the deployment is killed, stopped and partitioned, at random.

A fault ends when the part runs, or is reached, again. Measured are the time from there until a client reads something,
until an item is added, until a watcher gets an event; and over the whole of it, how long nobody got any.
"""

import asyncio
import random
import signal
import time
from collections import defaultdict
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

from chaos_clients import Failure, Ledger
from replicas import Deployment, Replica

ACTIONS = ("killed", "stopped", "silent", "cut off")
MOST_RECOVERY_S = 30.0
_LONGEST_S = 6.0  # A part is stopped or partitioned for so long at most.
_LINKS = {
    "RE Manager": (".control", ".info"),
    "RE Manager's Redis": ("manager.redis",),
    "shared Redis": ("a.redis", "b.redis"),
    "PostgreSQL": (".postgres",),
    "nginx": (".front",),
}


class Fault(NamedTuple):
    """One that is over. Times in seconds; what is not in `recovery_s` was not there again."""

    name: str
    recovery_s: dict[str, float]
    gap_s: dict[str, float]


class Chaos:
    """All kinds of faults, one after the other, each as often as any other."""

    def __init__(self, deployment: Deployment, rng: random.Random, kinds: tuple[str, ...]) -> None:
        self.deployment, self.rng, self.kinds = deployment, rng, kinds
        self.ledger = Ledger()
        self.faults: list[Fault] = []
        self.log: list[str] = []
        self._died = 0

    async def run(self, seconds: float) -> None:
        """Until the time is over."""
        until = time.monotonic() + seconds
        await asyncio.sleep(min(3, seconds / 10))
        waiting: list[tuple[str, str]] = []
        while time.monotonic() < until:
            if not waiting:
                waiting = [(name, action) for name in self._targets() for action in ACTIONS]
                self.rng.shuffle(waiting)
            await self._suffer(*waiting.pop())
            await asyncio.sleep(self.rng.uniform(0.2, 3))

    def find_unexpected(self, failures: list[Failure]) -> list[Failure]:
        """In chaos any call may fail."""
        return failures[:0]

    def verdict(self) -> dict[str, Any]:
        """What is not as promised."""
        missing = [
            f"{fault.name}: {kind}" for fault in self.faults for kind in self.kinds if kind not in fault.recovery_s
        ]
        return {
            "faults": len(self.faults),
            f"not there again after {MOST_RECOVERY_S:g} s": missing,
            "replicas that ended by themselves": self._died,
        }

    def describe(self) -> str:
        """Recovery after each kind of fault."""
        by_name: defaultdict[str, list[Fault]] = defaultdict(list)
        for fault in self.faults:
            by_name[fault.name].append(fault)
        head = " | ".join(f"{kind} again after, s | longest without" for kind in self.kinds)
        rows = [f"| fault | how often | {head} |", "|---|---:|" + "---:|---:|" * len(self.kinds)]
        for name, faults in [*sorted(by_name.items()), ("all", self.faults)]:
            cells = []
            for kind in self.kinds:
                cells.append(_spread([one.recovery_s[kind] for one in faults if kind in one.recovery_s]))
                cells.append(f"{max(one.gap_s.get(kind, 0.0) for one in faults):.1f}" if faults else "")
            rows.append(f"| {name} | {len(faults)} | " + " | ".join(cells) + " |")
        return "Again after: median / 90 % / longest.\n\n" + "\n".join(rows)

    def _targets(self) -> tuple[str, ...]:
        names = (*_LINKS, "follower", "other replica")
        return tuple(name for name in names if name != "PostgreSQL" or self.deployment.postgres is not None)

    async def _suffer(self, target: str, action: str) -> None:
        self.log.append(f"{time.time():.3f} {target} {action}")
        self.ledger.longest_gap_s.clear()
        if action == "killed":
            await self._kill(target)
        elif action == "stopped":
            send = self._sender(target)
            send(signal.SIGSTOP)
            await asyncio.sleep(self.rng.uniform(0.1, _LONGEST_S))
            send(signal.SIGCONT)
        else:
            await self._partition(target, "hold" if action == "silent" else "cut")
        ended_at = time.monotonic()
        self.ledger.first.clear()
        self.log.append(f"{time.time():.3f} {target} is back")
        while time.monotonic() < ended_at + MOST_RECOVERY_S and not self.ledger.first.keys() >= set(self.kinds):
            await asyncio.to_thread(self._revive)
            await asyncio.sleep(0.1)
        recovery_s = {kind: at - ended_at for kind, at in self.ledger.first.items()}
        self.faults.append(Fault(f"{target} {action}", recovery_s, dict(self.ledger.longest_gap_s)))

    def _replica(self, target: str) -> Replica:
        follower = self.deployment.find_follower()
        return follower if target == "follower" else next(r for r in self.deployment.replicas if r is not follower)

    def _sender(self, target: str) -> Callable[[int], None]:
        deployment = self.deployment
        if target in ("follower", "other replica"):
            return self._replica(target).signal
        part = {
            "RE Manager": deployment.instrument.manager,
            "RE Manager's Redis": deployment.instrument.redis,
            "shared Redis": deployment.redis,
            "PostgreSQL": deployment.postgres,
            "nginx": deployment.nginx,
        }[target]
        assert part is not None
        send: Callable[[int], None] = part.signal
        return send

    async def _kill(self, target: str) -> None:
        deployment = self.deployment
        pause_s = self.rng.uniform(0, 2)
        if target in ("follower", "other replica"):
            replica = self._replica(target)
            replica.signal(signal.SIGKILL)
            await asyncio.to_thread(replica.wait)
            await asyncio.sleep(pause_s)
            replica.start()
            return
        if target == "PostgreSQL":
            assert deployment.postgres is not None
            deployment.postgres.kill()
            await asyncio.sleep(pause_s)
            await asyncio.to_thread(deployment.postgres.start)
            return
        part, start = {
            "RE Manager": (deployment.instrument.manager, deployment.instrument.begin_manager),
            "RE Manager's Redis": (deployment.instrument.redis, deployment.instrument.start_redis),
            "shared Redis": (deployment.redis, deployment.start_redis),
            "nginx": (deployment.nginx, deployment.start_nginx),
        }[target]
        assert part is not None
        part.signal(signal.SIGKILL)
        await asyncio.to_thread(part.process.wait)
        await asyncio.sleep(pause_s)
        await asyncio.to_thread(start)

    async def _partition(self, target: str, command: str) -> None:
        links = self.deployment.links
        assert links is not None
        ends = _LINKS.get(target) or (f"{self._replica(target).name}.",)
        names = [name for name in links.names if any(name.endswith(end) or name.startswith(end) for end in ends)]
        for name in names:
            links.tell(command, name)
        await asyncio.sleep(self.rng.uniform(0.1, _LONGEST_S))
        for name in names:
            links.tell("pass", name)

    def _revive(self) -> None:
        """Start what ended by itself, as systemd would.

        RE Manager 0.0.25 ends when its Redis is away. A replica may end while it starts and its database is away.
        """
        instrument = self.deployment.instrument
        if instrument.manager is None or not instrument.manager.is_running:
            instrument.begin_manager()
        for replica in self.deployment.replicas:
            if not replica.is_running:
                self._died += replica.has_served
                self.log.append(f"{time.time():.3f} replica {replica.name} ended by itself")
                replica.start()


def _spread(values: list[float]) -> str:
    ordered = sorted(values)
    if not ordered:
        return "never"
    return f"{median(ordered):.1f} / {ordered[int(0.9 * (len(ordered) - 1) + 0.5)]:.1f} / {ordered[-1]:.1f}"
