"""The memory in which workers leave their figures."""

import asyncio
import os

from sanic_qserver.http.metrics import slots as memory
from sanic_qserver.http.metrics.figures import BUCKETS_S, Figures, RowFigures
from sanic_qserver.http.metrics.slots import Slots
from sanic_qserver.http.metrics.workers import SeveralWorkers


def figures(count):
    buckets = [count] + [0] * len(BUCKETS_S)
    return Figures({"GET /status": RowFigures({200: count}, buckets, 0.5)}, {"calls": {"sent": count}}, {"age": count})


def slots_for(workers, request):
    slots = Slots.make(workers)
    request.addfinalizer(lambda: [one.close() for one in (*slots.inboxes, *slots.outboxes)])
    return slots


def test_a_write_that_was_cut_short_leaves_the_one_before(request):
    slots = slots_for(1, request)
    slots.write(2, 1, b"first")
    slots.write(2, 2, b"second")
    assert slots.read(2) == (2, b"second")
    slots.write(2, 3, b"third")
    os.pwrite(slots._file, b"?", (2 * 2 + 1) * memory._HALF + memory._HEAD.size + 2)
    assert slots.read(2) == (2, b"second")
    assert slots.read(1) == (0, b"")


async def test_a_worker_goes_on_with_the_counters_that_it_finds(request):
    slots = slots_for(1, request)
    first = SeveralWorkers(slots, 0)
    await first.gather(figures(3))
    second = SeveralWorkers(slots, 0)
    for _ in range(2):  # What was before it is added once, however often it writes.
        found = (await second.gather(figures(4)))[0]
        assert found.counters == {"calls": {"sent": 7}}
        assert found.rows["GET /status"] == RowFigures({200: 7}, [7] + [0] * len(BUCKETS_S), 1.0)
        assert found.gauges["age"] == 4


async def test_of_a_worker_that_has_ended_counters_are_left_and_no_gauges(request):
    slots = slots_for(1, request)
    killed = SeveralWorkers(slots, 0)
    await killed.gather(figures(3))
    found = await SeveralWorkers(slots, 1).gather(figures(1))
    assert (found[0].counters, found[0].gauges) == ({"calls": {"sent": 3}}, {})
    assert found[1].gauges == {"age": 1, "qserver_worker_answering": 1}


async def test_it_writes_by_itself_and_once_more_at_its_end(request):
    slots = slots_for(1, request)
    worker = SeveralWorkers(slots, 0)
    worker.open(lambda: figures(2))
    assert slots.read(0)[0] == 1
    slots.outboxes[0].send(b"?" + (1).to_bytes(4, "little") + (9).to_bytes(8, "little"))
    await asyncio.get_running_loop().sock_recv(slots.inboxes[1], 13)  # The answer.
    assert slots.read(0)[0] == 2
    worker.close(figures(5))
    assert (await SeveralWorkers(slots, 1).gather(figures(1)))[0].counters == {"calls": {"sent": 5}}
