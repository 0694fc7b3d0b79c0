"""Random bytes as a hostile client sends them: heads, chunks, frames. The same seed gives the same bytes.

`FUZZ_SECONDS=600 FUZZ_SEED=7 pytest tests/unit/http/test_fuzz.py` runs longer, and elsewhere.
"""

import asyncio
import os
import struct
from random import Random

SEED = int(os.environ.get("FUZZ_SEED", "1"))
SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))  # 0: a fixed number of cases, for CI

NASTY = [
    b"\xff", b"\xed\xa0\x80", b"a\xc3", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"", b" ", b"\t", b",", b";", b"=", b'"',
    b"[",
    b"%", b"%00", b"%FF", b"%ED%A0%80", b"%0d%0aX: y", b"\\", b"..", b"{}", b"null", b"-1", b"1e999", b"a" * 3000,
    "\u212a\u0130\ufb01".encode(), "\u202e\ufeff".encode(), b"*", b"0" * 400, b'a=b;c="d', b"q=1e309,*;q=-1", b"\x7f",
    b"\x00", b"\x0b", b"\x1b[31m",
]  # fmt: skip
HEADERS = [
    b"Authorization", b"Cookie", b"Content-Type", b"Accept", b"Accept-Encoding", b"Origin", b"Host", b"X-CSRF",
    b"X-Request-ID", b"Idempotency-Key", b"If-None-Match", b"Last-Event-ID", b"Sec-WebSocket-Protocol",
    b"Sec-WebSocket-Key", b"Sec-WebSocket-Extensions", b"Sec-WebSocket-Version", b"Range", b"Forwarded",
    b"X-Forwarded-For", b"X-Forwarded-Host", b"X-Forwarded-Proto", b"X-Forwarded-Prefix", b"Referer", b"User-Agent",
    b"Connection", b"Expect", b"Upgrade", b"Content-Encoding", b"Access-Control-Request-Method",
    b"Access-Control-Request-Headers", b"Prefer", b"TE", b"Trailer",
]  # fmt: skip
BEGINNINGS = {
    b"Authorization": [b"", b"ApiKey ", b"Bearer ", b"Basic ", b"Badge "],
    b"Cookie": [b"", b"sanic_qserver_session=", b"a=b; sanic_qserver_session="],
    b"Sec-WebSocket-Protocol": [b"", b"qserver, qserver.api-key.", b"qserver.access-token."],
}
PIECES = [
    b"\r\n", b"\n", b"\r", b":", b" ", b"\t", b"\x00", b"GET ", b"POST ", b" HTTP/1.1", b" HTTP/1.0", b"/", b"5",
    b"/api/status", b"/api/queue/item/add", b"Host: x", b"Content-Length: ", b"Transfer-Encoding: chunked", b"chunked",
    b"0\r\n\r\n", b"Upgrade: websocket", b"Connection: ", b"Expect: 100-continue", b"\r\n\r\n", b"\xff", b"a" * 200,
]  # fmt: skip


def a_head(random: Random) -> bytes:
    """A head with mistakes: a good one changed a little, or pieces in any order."""
    if random.random() < 0.3:
        return b"".join(random.choices(PIECES, k=random.randint(1, 12))) + b"\r\n\r\n"
    verb = random.choice([b"GET", b"POST", b"DELETE", b"HEAD", b"OPTIONS", b"PUT"])
    path = random.choice([b"/api/status", b"/api/queue/item/add", b"/api/queue/item/add/stream", b"/api/events", b"/x"])
    lines = [verb + b" " + path + b" HTTP/1.1", b"Host: x"]
    for _ in range(random.randint(0, 4)):
        name = random.choice([*HEADERS, b"Content-Length", b"Transfer-Encoding"])
        lines.append(name + b": " + random.choice([*NASTY, b"chunked", b"5", b"keep-alive", b"websocket"]))
    head = bytearray(b"\r\n".join(lines) + b"\r\n\r\n")
    for _ in range(random.choice([0, 0, 1, 2])):
        at = random.randrange(len(head))
        change = random.choice(["delete", "insert", "replace"])
        head[at : at + (change != "insert")] = b"" if change == "delete" else random.choice(PIECES)
    return bytes(head)


def a_chunked_body(random: Random) -> bytes:
    """Chunks with mistakes."""
    body = bytearray()
    for _ in range(random.randint(1, 4)):
        data = random.randbytes(random.randint(0, 40))
        body += b"%x" % len(data) + random.choice([b"", b"", b";a=b", b" ", b";\x00"]) + b"\r\n" + data + b"\r\n"
    body += random.choice([b"0\r\n\r\n", b"0\r\n\r\n", b"0\r\nA: b\r\n\r\n", b"00000\r\n\r\n", b"-1\r\n"])
    for _ in range(random.choice([0, 1, 2])):
        at = random.randrange(len(body))
        body[at : at + 1] = random.choice([b"", b"\r", b"\n", b"\xff", b"0", b"g", b"\x00"])
    return bytes(body)


def a_frame(random: Random) -> bytes:
    """A frame of a websocket, often a bad one."""
    size = random.choice([0, 1, 5, 125, 126, 300, 5000])
    payload = random.choice([random.randbytes(size), b'{"type":"auth","api_key":"x"}', "\u00fc".encode() * (size // 2)])
    first = random.choice([0x81, 0x82, 0x01, 0x00, 0x80, 0x88, 0x89, 0x8A, 0xC1, random.randrange(256)])
    masked = 0x80 if random.random() < 0.9 else 0
    said = len(payload) + random.choice([0, 0, 0, 0, 1, -1])
    if said < 0 or said > 125:
        head = struct.pack("!BBH", first, masked | 126, max(0, said))
    else:
        head = bytes((first, masked | said))
    mask = random.randbytes(4)
    return head + (mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload)) if masked else payload)


async def send(port: int, data: bytes, *, wait_s: float = 0.0) -> bytes:
    """What the server says to these bytes, on a connection that ends after them (`wait_s` later)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        async with asyncio.timeout(15):
            await writer.drain()
            if not wait_s:
                return await reader.read()
            try:
                async with asyncio.timeout(wait_s):
                    return await reader.read()
            except TimeoutError:
                return b""
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()
