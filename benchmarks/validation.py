"""How long RE Manager's verdict on many plans takes, and what a reader waits meanwhile.

    python benchmarks/validation.py [--plans 100] [--rounds 20]

Starts a demo instrument and a server of its own. The aims: 100 plans in under a second, and no read waits longer than
for one piece (`api/items/verdicts.py`).
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]

import httpx
from servers import KEY, ours

from sanic_qserver.demo import Instrument

PLAN = {"item_type": "plan", "name": "count", "args": [["det1", "det2"]], "kwargs": {"num": 5}}


async def measure(url: str, plans: int, rounds: int) -> None:
    """Validate, and read the status all the time."""
    headers = {"Authorization": f"ApiKey {KEY}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client:
        took, waits = [], []
        is_over = False

        async def read() -> None:
            while not is_over:
                began = time.perf_counter()
                await client.get("/api/status")
                waits.append(time.perf_counter() - began)

        reading = asyncio.ensure_future(read())
        for _ in range(rounds):
            began = time.perf_counter()
            reply = await client.post("/api/queue/item/validate/batch", json={"items": [PLAN] * plans})
            took.append(time.perf_counter() - began)
            assert reply.json()["valid"], reply.text[:200]
        is_over = True
        await reading
    print(f"{plans} plans: median {statistics.median(took) * 1000:.0f} ms, at most {max(took) * 1000:.0f} ms")
    print(f"reads meanwhile: median {statistics.median(waits) * 1000:.1f} ms, at most {max(waits) * 1000:.0f} ms")


def main() -> None:
    """Start all of it, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plans", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Instrument(folder / "instrument") as instrument, ours(folder, instrument) as server:
            asyncio.run(measure(f"http://127.0.0.1:{server.port}", options.plans, options.rounds))


if __name__ == "__main__":
    main()
