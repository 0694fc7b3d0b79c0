"""Memory after a crowd of watchers: collected once, some time after they left, and only when there were many."""

import asyncio
import gc
import weakref
from pathlib import Path

import pytest

from sanic_qserver.http.stream.memory import MANY_LEFT, MemoryTrimmer, trim_heap


class Ring:
    """Garbage that only a collection finds."""

    def __init__(self):
        self.ring = self


@pytest.fixture
def only_by_hand():
    gc.disable()
    yield
    gc.enable()


def garbage():
    return weakref.ref(Ring())


MANY = MANY_LEFT


@pytest.mark.parametrize(
    ("came", "stayed", "is_collected"),
    [(MANY, 0, True), (3 * MANY, 2 * MANY, True), (MANY - 1, 0, False), (3 * MANY, 3 * MANY, False)],
)
async def test_a_collection_follows_when_a_crowd_has_left(came, stayed, is_collected, only_by_hand):
    crowd = MemoryTrimmer(trim_after_s=0.02)
    left = garbage()
    for count in (*range(1, came + 1), *range(came - 1, stayed - 1, -1)):
        crowd.record(count)
    assert left() is not None  # Not at once: their connections are still ending.
    await asyncio.sleep(0.1)
    assert (left() is None) is is_collected


async def test_the_next_crowd_is_counted_anew(only_by_hand):
    crowd = MemoryTrimmer(trim_after_s=0.02)
    crowd.record(MANY_LEFT)
    crowd.record(0)
    await asyncio.sleep(0.1)
    left = garbage()
    crowd.record(MANY_LEFT - 1)
    crowd.record(0)
    await asyncio.sleep(0.1)
    assert left() is not None


async def test_a_server_that_stops_has_nothing_left_to_do(only_by_hand):
    crowd = MemoryTrimmer(trim_after_s=0.02)
    left = garbage()
    crowd.record(MANY_LEFT)
    crowd.record(0)
    crowd.stop()
    await asyncio.sleep(0.1)
    assert left() is not None


def read_resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def test_what_importing_leaves_behind_goes_back_to_the_system():
    """Many blocks of the C heap are free, and a few between them are not: the heap does not shrink by itself."""
    blocks = [bytearray(2000) for _ in range(30_000)]
    left = blocks[::100]
    blocks.clear()
    before = read_resident_mb()
    trim_heap()
    assert read_resident_mb() < before - 30
    assert left
