"""Memory after a crowd of watchers: collected once, some time after they left, and only when there were many."""

import asyncio
import gc
import weakref

import pytest

from sanic_qserver.http.stream.memory import CROWD, Crowd


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


@pytest.mark.parametrize(("came", "stayed", "is_collected"), [
    (CROWD, 0, True), (3 * CROWD, 2 * CROWD, True), (CROWD - 1, 0, False), (3 * CROWD, 3 * CROWD, False),
])  # fmt: skip
async def test_a_collection_follows_when_a_crowd_has_left(came, stayed, is_collected, only_by_hand):
    crowd = Crowd(gone_s=0.02)
    left = garbage()
    for count in (*range(1, came + 1), *range(came - 1, stayed - 1, -1)):
        crowd.counted(count)
    assert left() is not None  # Not at once: their connections are still ending.
    await asyncio.sleep(0.1)
    assert (left() is None) is is_collected


async def test_the_next_crowd_is_counted_anew(only_by_hand):
    crowd = Crowd(gone_s=0.02)
    crowd.counted(CROWD)
    crowd.counted(0)
    await asyncio.sleep(0.1)
    left = garbage()
    crowd.counted(CROWD - 1)
    crowd.counted(0)
    await asyncio.sleep(0.1)
    assert left() is not None


async def test_a_server_that_stops_has_nothing_left_to_do(only_by_hand):
    crowd = Crowd(gone_s=0.02)
    left = garbage()
    crowd.counted(CROWD)
    crowd.counted(0)
    crowd.stop()
    await asyncio.sleep(0.1)
    assert left() is not None
