"""Random heads, chunks and frames: no 500, no hang, no traceback, memory flat. `fuzzing` says how to run longer."""

import asyncio
import gc
import time
import tracemalloc
from random import Random

import pytest
from conftest import KEY
from fuzzing import SECONDS, SEED, a_chunked_body, a_frame, a_head, send

AT_ONCE = 20
CASES = 300


@pytest.fixture
async def server(serve_alone):
    return await serve_alone(auth={"single_user_api_key": KEY}, server={"body_timeout_s": 0.5}, audit={"log": False})


async def fuzz(server, make, ask):
    """Send what `make` makes, in rounds, for as long as is asked. The last round leaves as much memory as the first."""
    random, until, begun_with = Random(SEED), time.monotonic() + SECONDS, 0
    tracemalloc.start()
    try:
        while True:
            for _ in range(CASES // AT_ONCE):
                await asyncio.gather(*(ask(make(random)) for _ in range(AT_ONCE)))
            async with asyncio.timeout(20):
                while server.app.ctx.connections:
                    await asyncio.sleep(0.02)
            gc.collect()
            held = tracemalloc.get_traced_memory()[0]
            if begun_with and time.monotonic() > until:
                break
            begun_with = begun_with or held
    finally:
        tracemalloc.stop()
    assert held - begun_with < 3_000_000


def is_no_500(answer):
    return b"HTTP/1.1 500" not in answer


async def test_random_heads_are_answered_or_cut_off(server):
    async def ask(head):
        assert is_no_500(await send(server.port, head + b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")), (
            head
        )

    await fuzz(server, a_head, ask)


async def test_random_chunks_are_answered_or_cut_off(server):
    head = b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: ApiKey " + KEY.encode() + b"\r\n"

    async def ask(body):
        for path in (b"POST /api/queue/item/add", b"POST /api/queue/item/add/stream"):
            asked = path + head + b"Transfer-Encoding: chunked\r\n\r\n" + body
            assert is_no_500(await send(server.port, asked, wait_s=0.2)), body

    await fuzz(server, a_chunked_body, ask)


async def test_random_frames_are_ignored_or_close_the_websocket(server):
    head = (
        b"GET /api/console_output/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Extensions: permessage-deflate\r\nAuthorization: ApiKey " + KEY.encode() + b"\r\n\r\n"
    )

    def frames(random):
        return b"".join(a_frame(random) for _ in range(random.randint(1, 5)))

    async def ask(data):
        assert is_no_500(await send(server.port, head + data, wait_s=0.1)), data

    await fuzz(server, frames, ask)
