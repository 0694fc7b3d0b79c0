"""Two replicas behind nginx are restarted and killed under load: is everything exact, and does a client notice?

    python benchmarks/rolling.py                                # two minutes: 10 orderly restarts, 5 kills
    python benchmarks/rolling.py --seconds 20 --restarts 3 --kills 1 --submitters 4 --watchers 5    # as in CI
    python benchmarks/rolling.py --chaos --seconds 600          # everything fails: see `replica_faults.py`
    python benchmarks/rolling.py --log /tmp/rolling             # keep logs and data

Real nginx (`deploy/nginx.conf`), Redis, PostgreSQL, RE Manager with its own Redis, and plans that run. 16 clients add
items, each under an Idempotency-Key that is used until its outcome is known; 20 follow the queue by events, and come
back with the id of the last one; 4 read. Items are stamped, clients have API keys of logins.

Ends with 1 when something was not as promised: an item lost or there twice, a key without an answer for 15 s, a call
that failed in an orderly restart, a watcher with another queue, or with a second snapshot, a traceback in a log.
"""

import argparse
import asyncio
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import httpx
from chaos_clients import Failure, Ledger, Reader, Submitter, Watcher
from chaos_judge import Judge, settle, sum_wrong, until_equal
from replica_faults import Chaos
from replicas import Deployment, Replica

STUCK_S = 15.0
ORDERLY, KILL = "orderly restart", "kill"
_AFTER_S = 1.0  # What comes so long after a kill is still its doing.


class Step(NamedTuple):
    """One thing that was done to the deployment. Times are monotonic; `down_s` until a replica served again."""

    kind: str
    whom: str
    began_at: float
    ended_at: float
    down_s: float
    exit_code: int


class Rolling:
    """Restarts one replica after the other, and kills some, spread over the time."""

    def __init__(self, deployment: Deployment, rng: random.Random, restarts: int, kills: int) -> None:
        self.deployment, self.rng = deployment, rng
        self.plan = [ORDERLY] * restarts + [KILL] * kills
        rng.shuffle(self.plan)
        self.steps: list[Step] = []
        self.log: list[str] = []
        self.ledger = Ledger()

    async def run(self, seconds: float) -> None:
        """Until the time is over and every step is done."""
        began_at = time.monotonic()
        for number, kind in enumerate(self.plan):
            await asyncio.sleep(began_at + seconds * (number + 0.1) / len(self.plan) - time.monotonic())
            replica = self.deployment.replicas[number % 2]
            self.log.append(f"{time.time():.3f} {kind} of {replica.name}")
            self.steps.append(await (self._restart if kind == ORDERLY else self._kill)(replica))
        await asyncio.sleep(began_at + seconds - time.monotonic())

    async def _restart(self, replica: Replica) -> Step:
        began_at = time.monotonic()
        replica.signal(signal.SIGTERM)
        code = await asyncio.to_thread(replica.wait)
        away_at = time.monotonic()
        return await self._start(ORDERLY, replica, began_at, away_at, code)

    async def _kill(self, replica: Replica) -> Step:
        began_at = time.monotonic()
        replica.signal(signal.SIGKILL)
        code = await asyncio.to_thread(replica.wait)
        await asyncio.sleep(self.rng.uniform(0, 1))
        return await self._start(KILL, replica, began_at, began_at, code)

    async def _start(self, kind: str, replica: Replica, began_at: float, away_at: float, code: int) -> Step:
        replica.start()
        await asyncio.to_thread(replica.wait_ready)
        now = time.monotonic()
        self.log.append(f"{time.time():.3f} {replica.name} is ready")
        return Step(kind, replica.name, began_at, now, now - away_at, code)

    def find_unexpected(self, failures: list[Failure]) -> list[Failure]:
        """Those that no kill explains."""
        kills = [step for step in self.steps if step.kind == KILL]
        return [
            one
            for one in failures
            if not any(one.asked_at <= kill.ended_at + _AFTER_S and one.told_at >= kill.began_at for kill in kills)
        ]

    def verdict(self) -> dict[str, Any]:
        """What is not as promised."""
        codes = {step.exit_code for step in self.steps if step.kind == ORDERLY}
        return {"orderly restarts that ended with": sorted(codes - {0})}

    def describe(self) -> str:
        """What was done, and what clients saw of it."""
        unexpected = self.find_unexpected(self.ledger.failures)
        counts = {ORDERLY: len(unexpected), KILL: len(self.ledger.failures) - len(unexpected)}
        rows = []
        for kind in (ORDERLY, KILL):
            steps = [step for step in self.steps if step.kind == kind]
            if not steps:
                continue
            down = sorted(step.down_s for step in steps)
            rows.append(f"| {kind} | {len(steps)} | {median(down):.1f} / {down[-1]:.1f} | {counts[kind]} |")
        return "\n".join(
            ("| | how often | away for, s, median / longest | calls that failed |", "|---|---:|---:|---:|", *rows)
        )


async def prepare(client: httpx.AsyncClient, *, runs: bool) -> None:
    """Open the environment, and let plans run, if they shall."""
    if not runs:
        return
    await client.post("/api/environment/open")
    reply = await client.get("/api/status", params={"wait_for": "environment_open", "timeout": 60}, timeout=70)
    assert reply.json()["worker_environment_exists"], reply.text
    reply = await client.post("/api/queue/autostart", json={"enable": True})
    assert reply.json()["success"], reply.text
    plan = {"item_type": "plan", "name": "count", "args": [["det1"]]}  # The first one takes longest.
    uid = (await client.post("/api/queue/item/add", json={"item": plan})).json()["item"]["item_uid"]
    await client.get("/api/status", params={"wait_for": f"item_finished:{uid}", "timeout": 60}, timeout=70)


class Play:
    """The clients, and what is done to the deployment meanwhile."""

    def __init__(
        self, args: argparse.Namespace, deployment: Deployment, faults: "Rolling | Chaos", rng: random.Random
    ) -> None:
        self.args, self.deployment, self.faults, self.rng = args, deployment, faults, rng
        self.ledger = faults.ledger
        self.judge = Judge(deployment.instrument, self.ledger)
        self.watchers: list[Watcher] = []
        self.seconds = 0.0

    async def run(self) -> dict[str, Any]:
        """From the first login to the verdict."""
        keys = await asyncio.to_thread(self.deployment.make_keys)
        limits = httpx.Limits(max_connections=400, max_keepalive_connections=400)
        clients = [
            httpx.AsyncClient(
                base_url=self.deployment.url, headers={"Authorization": f"ApiKey {key}"}, timeout=25, limits=limits
            )
            for key in keys.values()
        ]
        try:
            await settle(self.deployment.instrument, clients[0])
            await prepare(clients[0], runs=not self.args.chaos)
            return await self._play(clients)
        finally:
            await asyncio.gather(*(client.aclose() for client in clients))

    async def _play(self, clients: list[httpx.AsyncClient]) -> dict[str, Any]:
        args, ledger = self.args, self.ledger
        end, last = asyncio.Event(), asyncio.Event()

        def own() -> random.Random:
            return random.Random(self.rng.random())

        def client(number: int) -> httpx.AsyncClient:
            return clients[number % len(clients)]

        gives_up = 0.03 if args.chaos else 0.0
        self.watchers = [Watcher(client(number), ledger, own()) for number in range(args.watchers)]
        submitters = [
            Submitter(client(number), ledger, own(), args.pause, gives_up) for number in range(args.submitters)
        ]
        readers = [Reader(client(number), ledger, own(), args.pause) for number in range(args.readers)]
        began_at = time.monotonic()
        working = [asyncio.create_task(one.run(end)) for one in (*submitters, *readers)]
        looking = [asyncio.create_task(one.run(last)) for one in (*self.watchers, self.judge)]
        looking.append(asyncio.create_task(self._note_memory(last)))
        try:
            await self.faults.run(args.seconds)
        except BaseException:
            for task in (*working, *looking):
                task.cancel()
            raise
        self.seconds = time.monotonic() - began_at
        await settle(self.deployment.instrument, clients[0])
        end.set()
        _, left = await asyncio.wait(working, timeout=90)
        broken = [str(task.exception()) for task in working if task.done() and task.exception()]
        different = await until_equal(self.watchers, self.judge)
        last.set()
        for task in (*working, *looking):
            task.cancel()
        ended = await asyncio.gather(*looking, return_exceptions=True)
        broken += [str(one) for one in ended if isinstance(one, Exception)]
        return self._judge(different, len(left), broken)

    async def _note_memory(self, end: asyncio.Event) -> None:
        while not end.is_set():
            await asyncio.sleep(1)
            for replica in self.deployment.replicas:
                replica.note_memory()

    def _judge(self, different: int, left: int, broken: list[str]) -> dict[str, Any]:
        ledger = self.ledger
        seen = sum((watcher.counts for watcher in self.watchers), Counter[str]())
        return {
            **self.judge.verdict(),
            "clients that did not end": left,
            "clients that broke": broken,
            "calls that failed in an orderly restart": count_failures(self.faults.find_unexpected(ledger.failures)),
            "watchers with another queue": different,
            "what watchers saw wrong": sum_wrong(self.watchers),
            "snapshots after the first": max(0, seen["snapshot"] - len(self.watchers)),
            **self.faults.verdict(),
            "tracebacks in logs": self.deployment.find_tracebacks(),
            "longest time that a key was running, s": round(max(ledger.running_s, default=0.0), 1),
            "longest time until an item was settled, s": round(max(ledger.resolved_s, default=0.0), 1),
            "items a second": round(len(ledger.added) / self.seconds, 1),
            "replies": dict(sorted(ledger.counts.items())),
            "all calls that failed": count_failures(ledger.failures),
            "events": dict(sorted(seen.items())),
            "errors in logs": len(self.deployment.find_errors()),
        }


def count_failures(failures: list[Failure]) -> dict[str, int]:
    """How often what went wrong."""
    return dict(sorted(Counter(one.what for one in failures).items()))


def find_faults(verdict: dict[str, Any], *, is_chaos: bool) -> list[str]:
    """What was not as promised, by name."""
    nothing = ["acknowledged and lost", "added twice", "added and not acknowledged", "clients that did not end",
               "clients that broke", "watchers with another queue", "what watchers saw wrong",
               "tracebacks in logs"]  # fmt: skip
    stuck = "longest time until an item was settled, s"
    if is_chaos:  # There RE Manager itself may be away for most of a minute: each key is settled in the end.
        nothing += ["not there again after 30 s", "replicas that ended by themselves"]
    else:
        nothing += ["calls that failed in an orderly restart", "snapshots after the first",
                    "orderly restarts that ended with"]  # fmt: skip
    found = [name for name in nothing if verdict[name]]
    if not is_chaos and verdict[stuck] > STUCK_S:
        found.append(stuck)
    if not verdict["items acknowledged"]:
        found.append("items acknowledged")
    return found


def describe_memory(deployment: Deployment) -> str:
    """Resident memory of each process of a replica that lived for half a minute: after 10 s, at most, at its end."""
    rows = ["| replica | lived for, s | memory after 10 s / most / at the end, MB |", "|---|---:|---:|"]
    for replica in deployment.replicas:
        for sizes in replica.memory_mb:
            if len(sizes) >= 30:
                rows.append(f"| {replica.name} | {len(sizes)} | {sizes[10]:.0f} / {max(sizes):.0f} / {sizes[-1]:.0f} |")
    return "\n".join(rows)


async def play(args: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], str]:
    """The whole play: its verdict, and tables."""
    rng = random.Random(args.seed)
    log: list[str] = []
    deployment = Deployment(folder, database=args.database, links=args.chaos)
    try:
        await asyncio.to_thread(deployment.start)
        kinds = ("reads", "adds", "events") if args.watchers else ("reads", "adds")
        faults: Rolling | Chaos = (
            Chaos(deployment, rng, kinds) if args.chaos else Rolling(deployment, rng, args.restarts, args.kills)
        )
        log = faults.log
        verdict = await Play(args, deployment, faults, rng).run()
        tables = f"{faults.describe()}\n\n{describe_memory(deployment)}"
    finally:
        (folder / "faults.log").write_text("\n".join(log) + "\n")
        await asyncio.to_thread(deployment.stop)
    return verdict, tables


def main() -> int:
    """Play, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.0, help="120; with --chaos 600")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--chaos", action="store_true", help="everything fails, not only replicas")
    parser.add_argument("--restarts", type=int, default=10)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--database", choices=("postgresql", "sqlite"), default="postgresql")
    parser.add_argument("--submitters", type=int, default=16)
    parser.add_argument("--watchers", type=int, default=20)
    parser.add_argument("--readers", type=int, default=4)
    parser.add_argument("--pause", type=float, default=0.3, help="mean seconds between two calls of a client")
    parser.add_argument("--log", type=Path, help="keep logs and data in this folder")
    args = parser.parse_args()
    args.seconds = args.seconds or (600.0 if args.chaos else 120.0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="rolling-") as temporary:
        folder = args.log.resolve() if args.log else Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        verdict, tables = asyncio.run(play(args, folder))
    found = find_faults(verdict, is_chaos=args.chaos)
    print(json.dumps(verdict, indent=1, default=str))
    print(tables)
    print("NOT exact: " + "; ".join(found) if found else "exact")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
