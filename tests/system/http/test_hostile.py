"""A server process among hostile and hasty clients: its memory is bounded, and its log has no errors."""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys

import pytest
from conftest import KEY, ROOT

from sanic_qserver.demo import free_port

KEYED = b"Host: x\r\nAuthorization: ApiKey " + KEY.encode() + b"\r\n"
HANDSHAKE = (
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
PLAN = b'{"item": {"name": "count", "args": [["det1"]], "item_type": "plan"}}'
LINES = b"POST /api/queue/item/add/stream HTTP/1.1\r\n" + KEYED + b"Transfer-Encoding: chunked\r\n\r\n"
LEAVING = [
    b"GET /api/status",
    b"GET /api/status HTTP/1.1\r\n" + KEYED + b"\r\n",
    b"GET /api/plans/existing HTTP/1.1\r\n" + KEYED + b"\r\n",
    b"GET /docs/assets/swagger-ui-bundle.js HTTP/1.1\r\n" + KEYED + b"\r\n",
    b"POST /api/queue/item/add HTTP/1.1\r\n" + KEYED + b"Content-Length: %d\r\n\r\n" % len(PLAN) + PLAN,
    b"POST /api/queue/item/add HTTP/1.1\r\n" + KEYED + b"Content-Length: %d\r\n\r\n" % len(PLAN) + PLAN[:9],
    LINES,
    LINES + b"%x\r\n" % len(PLAN) + PLAN,
    b"GET /api/events HTTP/1.1\r\n" + KEYED + b"\r\n",
    b"GET /api/events HTTP/1.1\r\n" + KEYED + HANDSHAKE + b"\r\n",
    b"GET /api/console_output/ws HTTP/1.1\r\n" + KEYED + HANDSHAKE + b"\r\n",
    b"GET /api/stream_console_output HTTP/1.1\r\n" + KEYED + b"\r\n",
]  # fmt: skip


@pytest.fixture
async def process(instrument, tmp_path):
    """A server process in front of the shared RE Manager; its port, and its log as text once it has ended."""
    port, log = free_port(), tmp_path / "log"
    environment = {**os.environ, **instrument.environment, "QSERVER_HTTP_SERVER_SINGLE_USER_API_KEY": KEY}
    command = [sys.executable, "-m", "sanic_qserver", "serve", "--port", str(port)]
    with log.open("wb") as output, subprocess.Popen(command, env=environment, stderr=output, stdout=output) as running:
        running.port, running.log = port, log
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await connect(port)
                    writer.close()
                    break
                await asyncio.sleep(0.05)
        yield running
        running.kill()


async def connect(port, data=b""):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    return reader, writer


async def test_clients_that_leave_at_any_moment_leave_no_error_in_the_log(process):
    for data, wait_s, is_reset in itertools.product(LEAVING, (0, 0.01, 0.1), (False, True)):
        _, writer = await connect(process.port, data)
        await asyncio.sleep(wait_s)
        writer.transport.abort() if is_reset else writer.close()
    staying = [await connect(process.port, data) for data in LEAVING * 2]  # They are there when the server stops.
    await asyncio.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, 20) == 0
    for _, writer in staying:
        writer.close()
    lines = process.log.read_text().splitlines()
    assert [line for line in lines if any(word in line for word in ("ERROR", "Traceback", "never retrieved"))] == []


@pytest.mark.slow
def test_500_hostile_connections_take_less_than_200_mb(tmp_path):
    result, attacks = tmp_path / "result.json", ["body_too_large", "requests_flooding", "requests_pipelined"]
    command = [
        sys.executable,
        str(ROOT / "benchmarks" / "hostile.py"),
        "--seconds",
        "3",
        "--attacks",
        ",".join(attacks),
    ]
    subprocess.run([*command, "--json", str(result)], check=True, timeout=120, stdout=subprocess.DEVNULL)
    rows = json.loads(result.read_text())
    assert [(row["attack"], row["connections"]) for row in rows] == [(attack, 500) for attack in attacks]
    assert max(row["most MB"] for row in rows) < 200
