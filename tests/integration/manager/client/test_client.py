"""The RE Manager client: pipelining, encodings, CURVE, deadlines. Real managers, except for faults of a peer."""

import asyncio
import itertools
import json

import pytest
import zmq
import zmq.asyncio
from ports import free_port
from servers import Instrument

from sanic_qserver.config.settings import ManagerConfig
from sanic_qserver.errors import ManagerLost, ManagerTimeout, ManagerUnavailable, Overloaded, ShuttingDown
from sanic_qserver.manager.client.call import sending_while
from sanic_qserver.manager.client.client import ManagerClient
from sanic_qserver.manager.client.methods import READS, SLOW, deadline_s


async def opened(**settings):
    client = ManagerClient(ManagerConfig(**settings))
    client.open()
    return client


async def until_connected(client):
    for _ in range(300):
        if client.is_connected:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(client.last_failure)


async def test_three_hundred_pipelined_calls_get_their_own_replies(instrument):
    client = await opened(control_address=instrument.control_address, queue_limit=1000, queue_wait_s=20)
    try:
        await until_connected(client)
        calls = [client.request("queue_item_get", {"uid": f"no such {number}"}) for number in range(300)]
        replies = await asyncio.gather(*calls)
        for number, reply in enumerate(replies):
            assert f"no such {number}'" in json.loads(reply)["msg"]
    finally:
        await client.close()


@pytest.mark.slow
async def test_msgpack_and_curve_work_together(tmp_path):
    public, secret = zmq.curve_keypair()
    with Instrument(tmp_path, encoding="msgpack", private_key=secret.decode()) as instrument:
        settings = {"control_address": instrument.control_address, "encoding": "msgpack"}
        client = await opened(public_key=public.decode(), **settings)
        try:
            await until_connected(client)
            replies = await asyncio.gather(*(client.request("status") for _ in range(50)))
            assert {json.loads(reply)["manager_state"] for reply in replies} == {"idle"}
        finally:
            await client.close()
        wrong, _ = zmq.curve_keypair()
        client = await opened(public_key=wrong.decode(), queue_wait_s=1.0, **settings)
        try:
            with pytest.raises(ManagerUnavailable):
                await client.request("status")
        finally:
            await client.close()


class SlowPeer:
    """A REP socket that answers after a while, or not at all: a fault that no real manager produces on request."""

    def __init__(self, delay_s, port=0):
        self.port = port or free_port()
        self.received = []
        self._context = zmq.asyncio.Context()
        self._socket = self._context.socket(zmq.REP)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(f"tcp://127.0.0.1:{self.port}")
        self._task = asyncio.create_task(self._serve(delay_s))

    async def _serve(self, delay_s):
        while True:
            call = json.loads(await self._socket.recv())
            self.received.append(call["params"].get("number"))
            await asyncio.sleep(delay_s)
            await self._socket.send_json({"number": call["params"].get("number")})

    async def close(self):
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._socket.close(0)
        self._context.term()


async def test_a_call_that_was_not_sent_in_time_is_refused_and_never_sent():
    peer = SlowPeer(0.5)
    client = await opened(control_address=f"tcp://127.0.0.1:{peer.port}", window=1, queue_wait_s=0.2)
    try:
        await until_connected(client)
        calls = [asyncio.ensure_future(client.request("x", {"number": number})) for number in range(3)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert json.loads(results[0]) == {"number": 0}
        assert [type(result) for result in results[1:]] == [Overloaded, Overloaded]
        await asyncio.sleep(0.3)
        assert peer.received == [0]
    finally:
        await client.close()
        await peer.close()


async def test_a_late_reply_is_dropped_and_the_next_call_gets_its_own():
    peer = SlowPeer(0.3)
    client = await opened(control_address=f"tcp://127.0.0.1:{peer.port}", short_deadline_s=0.1)
    try:
        await until_connected(client)
        with pytest.raises(ManagerTimeout, match="outcome is unknown"):
            await client.request("queue_start", {"number": 1})
        assert json.loads(await client.request("status", {"number": 2}, deadline_s=5)) == {"number": 2}
        assert client.counts["late"] == 1
        assert client.in_flight_count == 0
    finally:
        await client.close()
        await peer.close()


async def test_a_caller_that_gives_up_while_it_waits_is_not_sent():
    peer = SlowPeer(0.2)
    client = await opened(control_address=f"tcp://127.0.0.1:{peer.port}", window=1, queue_wait_s=5)
    try:
        await until_connected(client)
        first = asyncio.ensure_future(client.request("x", {"number": 1}))
        second = asyncio.ensure_future(client.request("x", {"number": 2}))
        third = asyncio.ensure_future(client.request("x", {"number": 3}))
        await asyncio.sleep(0.05)
        second.cancel()
        await asyncio.gather(first, third)
        assert peer.received == [1, 3]
    finally:
        await client.close()
        await peer.close()


async def test_closing_fails_what_is_under_way_and_a_closed_client_refuses():
    peer = SlowPeer(5)
    client = await opened(control_address=f"tcp://127.0.0.1:{peer.port}", window=1)
    await until_connected(client)
    calls = [asyncio.ensure_future(client.request("x", {})) for _ in range(3)]
    await asyncio.sleep(0.05)
    await client.close()
    results = await asyncio.gather(*calls, return_exceptions=True)
    # The first was sent: RE Manager does it, whether or not we are there.
    assert [type(result) for result in results] == [ManagerLost, ShuttingDown, ShuttingDown]
    with pytest.raises(ShuttingDown):
        await client.request("status")
    await peer.close()


async def test_a_full_queue_refuses_at_once():
    peer = SlowPeer(5)
    client = await opened(control_address=f"tcp://127.0.0.1:{peer.port}", window=1, queue_limit=2)
    try:
        await until_connected(client)
        calls = [asyncio.ensure_future(client.request("x", {})) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="not sent"):
            await client.request("x", {})
        for call in calls:
            call.cancel()
    finally:
        await client.close()
        await peer.close()


@pytest.mark.parametrize("method", sorted(SLOW))
def test_what_takes_long_has_the_long_deadline(method):
    assert deadline_s(method, ManagerConfig()) == ManagerConfig().long_deadline_s
    assert method not in READS


def test_the_defaults_answer_before_the_official_client_gives_up():
    config = ManagerConfig()
    assert config.queue_wait_s + deadline_s("status", config) < 5


def test_a_deadline_can_be_set_for_one_method():
    assert deadline_s("status", ManagerConfig(deadlines_s={"status": 0.5})) == 0.5


async def test_a_call_waits_for_a_connection_however_long_re_manager_was_away():
    port = free_port()
    client = await opened(control_address=f"tcp://127.0.0.1:{port}", queue_wait_s=2)
    with pytest.raises(ManagerUnavailable, match="was not sent"):
        await client.request("x")
    waiting = asyncio.ensure_future(client.request("x", {"number": 1}))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    peer = SlowPeer(0, port)
    try:
        assert json.loads(await waiting) == {"number": 1}
    finally:
        await client.close()
        await peer.close()


async def test_the_interval_between_two_tries_to_connect_does_not_grow():
    """A peer that ends each connection at once counts the tries."""
    tries = []

    async def end(_, writer):
        tries.append(asyncio.get_running_loop().time())
        writer.close()

    server = await asyncio.start_server(end, "127.0.0.1", 0)
    client = await opened(control_address=f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    try:
        async with asyncio.timeout(20):
            while len(tries) < 21:
                await asyncio.sleep(0.02)
        gaps = sorted(later - earlier for earlier, later in itertools.pairwise(tries))
        assert gaps[len(gaps) // 2] < 0.5  # It was 1 s after the fourth try.
    finally:
        await client.close()
        server.close()


async def test_without_a_connection_no_more_calls_wait_than_the_queue_holds():
    client = await opened(control_address=f"tcp://127.0.0.1:{free_port()}", queue_limit=3, queue_wait_s=20)
    calls = [asyncio.ensure_future(client.request("x")) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(ManagerUnavailable, match="was not sent"):
        await client.request("x")
    await client.close()
    await asyncio.gather(*calls, return_exceptions=True)


async def test_a_connection_that_met_itself_is_no_connection_and_is_given_up(caplog):
    """With a source address the kernel's unlucky choice of the source port is made on purpose."""
    own = f"127.0.0.1:{free_port()}"
    client = await opened(control_address=f"tcp://{own};{own}", queue_wait_s=0.5)
    try:
        with pytest.raises(ManagerUnavailable, match="met itself"):
            await client.request("status")
        assert client.counts["sent"] == 0
        assert "range of source ports" in caplog.text
    finally:
        await client.close()


@pytest.mark.parametrize("is_batched", [False, True])
async def test_what_is_refused_at_the_socket_is_taken_from_the_queue_once(instrument, is_batched):
    """A lease that has ended lets nothing be sent. Counted twice, such calls broke the client for good."""
    client = await opened(control_address=instrument.control_address, queue_wait_s=0.05)
    try:
        await until_connected(client)
        with sending_while(lambda: False):
            for _ in range(3):
                if is_batched:
                    call = client.add({"item_type": "plan", "name": "count"}, "x", "primary")
                else:
                    call = client.submit("queue_item_move", {"pos": 0, "pos_dest": 0})
                with pytest.raises(Overloaded):
                    await call
        await asyncio.sleep(0.2)  # Longer than `queue_wait_s`: whatever waits for the end of it has come.
        assert client.waiting_count == 0
        assert json.loads(await client.request("status"))["msg"]
    finally:
        await client.close()
