"""Ten minutes of chaos, and whether everything was exact: each acknowledged item once, no key stuck, nothing silent.

    python benchmarks/chaos.py                                  # ten minutes
    python benchmarks/chaos.py --seconds 60 --seed 3            # as in CI
    python benchmarks/chaos.py --store redis --log /tmp/chaos   # keys in a Redis, which is killed too

RE Manager, its Redis, the gateway and the store of Idempotency-Keys are killed, stopped, continued and started again
at random, and RE Manager's Redis refuses writes for moments. Meanwhile 8 clients add items under keys, 2 send streams
of lines, 20 follow the queue. RE Manager's Redis writes each change to its file before it answers, so that what is
lost is lost by somebody else. Acknowledged items are taken out of the queue every second, to keep it small.
Ends with 1 when something was not exact.
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
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
from chaos_clients import Ledger, Streamer, Submitter, Watcher
from chaos_judge import Judge, settle, sum_wrong, until_equal
from parts import DurableInstrument, start_redis
from redis.asyncio import Redis
from redis.exceptions import RedisError

from sanic_qserver.demo import Part, free_port

KEY = "chaos"
STUCK_S = 15.0
CONFIG = """
[server]
port = {port}
shutdown_timeout_s = 2.0
[manager]
control_address = "{control}"
info_address = "{info}"
[auth]
single_user_api_key = "chaos"
[policy]
rate_limits = "rates.yaml"
{store}
"""


class Scene:
    """Everything that is killed: each part can be started again as it was."""

    def __init__(self, folder: Path, store: str) -> None:
        self.folder, self.store = folder, store
        self.port = free_port()
        self.instrument = DurableInstrument(folder / "instrument")
        self.store_port = free_port()
        self.gateway: Part | None = None
        self.store_redis: Part | None = None

    def start(self) -> None:
        """Start all, and write the configuration."""
        if self.store == "redis":
            self.start_store()
            store = f'[idempotency]\nstore = "redis://127.0.0.1:{self.store_port}/0"\n'
        else:
            store = f'[idempotency]\nstore = "{self.store}"\n' if self.store else ""
        self.instrument.start()
        (self.folder / "rates.yaml").write_text("rates: []\n")
        (self.folder / "config.toml").write_text(
            CONFIG.format(
                port=self.port,
                control=self.instrument.control_address,
                info=self.instrument.info_address,
                store=store,
            )
        )
        self.start_gateway()

    def start_gateway(self) -> None:
        """Start the server, without waiting for it."""
        command = [sys.executable, "-m", "sanic_qserver", "serve", "--config", str(self.folder / "config.toml")]
        self.gateway = Part("gateway", command, self.folder, {})

    def start_store(self) -> None:
        """Start the Redis of the keys."""
        self.store_redis = start_redis(self.folder, self.store_port, "keys")

    def stop(self) -> None:
        """End all."""
        for part in (self.gateway, self.store_redis):
            if part is not None:
                part.stop()
        self.instrument.stop()


class Faults:
    """What goes wrong, one thing after the other."""

    def __init__(self, scene: Scene, rng: random.Random) -> None:
        self.scene, self.rng = scene, rng
        self.counts: Counter[str] = Counter()
        self.log: list[str] = []
        self.all: dict[str, Callable[[], Awaitable[None]]] = {
            "manager killed": self.kill_manager,
            "manager stopped": lambda: self.pause("manager"),
            "redis killed": self.kill_redis,
            "redis stopped": lambda: self.pause("redis"),
            "redis refuses writes": self.refuse_writes,
            "redis cuts connections": self.cut_connections,
            "gateway killed": lambda: self.end_gateway(signal.SIGKILL),
            "gateway terminated": lambda: self.end_gateway(signal.SIGTERM),
            "gateway stopped": lambda: self.pause("gateway"),
        }
        if scene.store == "redis":
            self.all["store killed"] = self.kill_store
            self.all["store stopped"] = lambda: self.pause("store")

    async def run(self, seconds: float) -> None:
        """Until the time is over."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            name = self.rng.choice(list(self.all))
            self.counts[name] += 1
            self.log.append(f"{time.time():.3f} {name}")
            await self.all[name]()
            await asyncio.sleep(self.rng.uniform(0.2, 3))

    def part(self, name: str) -> Part:
        """A part by its name."""
        parts = {
            "manager": self.scene.instrument.manager,
            "redis": self.scene.instrument.redis,
            "gateway": self.scene.gateway,
            "store": self.scene.store_redis,
        }
        part = parts[name]
        assert part is not None
        return part

    async def pause(self, name: str) -> None:
        """Stop a part, and continue it."""
        part = self.part(name)
        part.signal(signal.SIGSTOP)
        await asyncio.sleep(self.rng.uniform(0.1, 6))
        part.signal(signal.SIGCONT)

    async def kill_manager(self) -> None:
        """Kill RE Manager with its worker, and start it again."""
        self.part("manager").signal(signal.SIGKILL)
        self.part("manager").process.wait()
        await asyncio.sleep(self.rng.uniform(0, 2))
        await asyncio.to_thread(self.scene.instrument.begin_manager)

    async def kill_redis(self) -> None:
        """Kill RE Manager's Redis, and start it again."""
        self.part("redis").signal(signal.SIGKILL)
        self.part("redis").process.wait()
        await asyncio.sleep(self.rng.uniform(0, 2))
        self.scene.instrument.start_redis()

    async def kill_store(self) -> None:
        """Kill the Redis of the keys, and start it again."""
        self.part("store").signal(signal.SIGKILL)
        self.part("store").process.wait()
        await asyncio.sleep(self.rng.uniform(0, 2))
        self.scene.start_store()

    async def end_gateway(self, number: int) -> None:
        """Kill or end the gateway, and start it again."""
        self.part("gateway").signal(number)
        await asyncio.to_thread(self.part("gateway").process.wait, 30)
        await asyncio.sleep(self.rng.uniform(0, 1))
        self.scene.start_gateway()

    async def refuse_writes(self) -> None:
        """RE Manager's Redis refuses writes for moments."""
        async with Redis(port=self.scene.instrument.redis_port, socket_timeout=2) as redis:
            for _ in range(20):
                try:
                    await redis.config_set("min-replicas-to-write", 1)
                    await asyncio.sleep(self.rng.uniform(0.010, 0.060))
                    await redis.config_set("min-replicas-to-write", 0)
                    await asyncio.sleep(self.rng.uniform(0.01, 0.05))
                except (RedisError, OSError):
                    return

    async def cut_connections(self) -> None:
        """RE Manager's Redis closes every connection, several times."""
        async with Redis(port=self.scene.instrument.redis_port, socket_timeout=2) as redis:
            for _ in range(5):
                try:
                    await redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                except (RedisError, OSError):
                    return
                await asyncio.sleep(self.rng.uniform(0.01, 0.1))


async def chaos(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The whole play, and its verdict."""
    rng = random.Random(args.seed)
    scene = Scene(folder, args.store)
    await asyncio.to_thread(scene.start)
    ledger, faults = Ledger(), Faults(scene, rng)
    judge = Judge(scene.instrument, ledger)
    end, last = asyncio.Event(), asyncio.Event()
    limits = httpx.Limits(max_connections=200)
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{scene.port}", headers={"Authorization": f"ApiKey {KEY}"}, timeout=25, limits=limits
    ) as client:
        try:
            await settle(scene.instrument, client)

            def own() -> random.Random:
                return random.Random(rng.random())

            watchers = [Watcher(client, ledger, own()) for _ in range(args.watchers)]
            submitters = [Submitter(client, ledger, own(), args.pause) for _ in range(args.submitters)]
            streamers = [Streamer(client, ledger, own(), args.pause) for _ in range(args.streams)]
            working = [asyncio.create_task(one.run(end)) for one in (*submitters, *streamers)]
            looking = [asyncio.create_task(one.run(last)) for one in (*watchers, judge)]
            await faults.run(args.seconds)
            await settle(scene.instrument, client)
            end.set()
            _, left = await asyncio.wait(working, timeout=90)
            broken = [str(task.exception()) for task in working if task.done() and task.exception()]
            different = await until_equal(watchers, judge)
            verdict = {
                **judge.verdict(),
                "clients that did not end": len(left),
                "clients that broke": broken,
                "watchers with another queue": different,
                "what watchers saw wrong": sum_wrong(watchers),
                "longest time that a key was running, s": round(max(ledger.running_s, default=0.0), 1),
                "longest time until an item was settled, s": round(max(ledger.resolved_s, default=0.0), 1),
            }
            last.set()
            for task in (*working, *looking):
                task.cancel()
            await asyncio.gather(*working, *looking, return_exceptions=True)
        finally:
            (folder / "faults.log").write_text("\n".join(faults.log) + "\n")
            await asyncio.to_thread(scene.stop)
    counted = {
        "faults": faults.counts,
        "replies": ledger.counts,
        "events": sum((w.counts for w in watchers), Counter()),
    }
    return {**verdict, **{name: dict(sorted(counts.items())) for name, counts in counted.items()}}


def is_exact(verdict: dict[str, Any]) -> bool:
    """Whether the play ended as promised."""
    nothing = ("acknowledged and lost", "added twice", "added and not acknowledged", "clients that did not end",
               "clients that broke", "watchers with another queue", "what watchers saw wrong")  # fmt: skip
    return not any(verdict[name] for name in nothing) and (
        verdict["longest time that a key was running, s"] <= STUCK_S and verdict["items acknowledged"] > 0
    )


def main() -> int:
    """Play, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", default="", help='"redis", or what [idempotency] store takes; default: the default')
    parser.add_argument("--submitters", type=int, default=8)
    parser.add_argument("--streams", type=int, default=2)
    parser.add_argument("--watchers", type=int, default=20)
    parser.add_argument("--pause", type=float, default=0.2, help="mean seconds between two items of a client")
    parser.add_argument("--log", type=Path, help="keep logs and data in this folder")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.log or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        verdict = asyncio.run(chaos(args, folder))
    print(json.dumps(verdict, indent=1, default=str))
    print("exact" if is_exact(verdict) else "NOT exact")
    return 0 if is_exact(verdict) else 1


if __name__ == "__main__":
    sys.exit(main())
