"""A small websocket client and a small reader of server-sent events.

Our own: the versions of `websockets` differ between tests and installations, and a reader that stops reading,
or vanishes, is needed here.
"""

import asyncio
import base64
import contextlib
import os
import socket
import struct
import zlib

import httpx

_opened = []


async def all_leave():
    """Close every connection that was made here. The end of `sanic_client` does it too."""
    writers = [_opened.pop() for _ in range(len(_opened))]
    for writer in writers:
        writer.close()
    for writer in writers:
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    if writers:
        await asyncio.sleep(0.01)  # The server notices.


async def connection(port, receive_buffer=0):
    """A connection to the server; with a small buffer, one who does not read is noticed soon."""
    plain = socket.socket()
    if receive_buffer:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    plain.setblocking(False)  # its name
    await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=plain, limit=receive_buffer or 2**20)
    _opened.append(writer)
    return reader, writer


@contextlib.asynccontextmanager
async def client_of(served):
    """A client in the test's loop of a server in another thread. Queue and history are empty."""
    async with httpx.AsyncClient(base_url=served.url, headers=served.key, timeout=20) as client:
        client.port, client.app = served.port, served.app
        for path in ("/api/queue/clear", "/api/history/clear"):
            assert (await client.post(path)).json()["success"]
        yield client


class Closed(Exception):
    """The server closed; args: code, reason."""


class Watcher:
    """A websocket client: handshake, text frames, close codes. `compressed` counts compressed messages."""

    compressed = 0

    @classmethod
    async def connect(cls, port, path, headers=None, receive_buffer=0):
        self = cls()
        self.reader, self.writer = await connection(port, receive_buffer)
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            "Sec-WebSocket-Version: 13",
            *(f"{name}: {value}" for name, value in (headers or {}).items()),
        ]
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        head = await self.reader.readuntil(b"\r\n\r\n")
        self.status = int(head.split()[1])
        self.head = head.decode()
        return self

    async def recv(self, timeout_s=10):
        """The next text message. Raises Closed."""
        async with asyncio.timeout(timeout_s):
            while True:
                first, second = await self.reader.readexactly(2)
                size = second & 127
                if size == 126:
                    (size,) = struct.unpack("!H", await self.reader.readexactly(2))
                elif size == 127:
                    (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
                payload = await self.reader.readexactly(size)
                if first & 15 == 8:
                    raise Closed(struct.unpack("!H", payload[:2])[0], payload[2:].decode())
                if first & 64:
                    self.compressed += 1
                    payload = zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff")
                if first & 15 == 1:
                    return payload.decode()

    def send(self, text):
        data = text.encode()
        small = len(data) < 126
        head = struct.pack("!BB", 0x81, 0x80 | len(data)) if small else struct.pack("!BBH", 0x81, 254, len(data))
        self.writer.write(head + bytes(4) + data)

    async def closed(self, timeout_s=10):
        """The close code."""
        try:
            while True:
                await self.recv(timeout_s)
        except Closed as closed:
            return closed.args[0]

    async def leave(self):
        """Go without a word, as a browser tab that is closed."""
        self.writer.close()
        await asyncio.sleep(0.01)


class Events:
    """A reader of server-sent events, as a browser's EventSource reads them."""

    @classmethod
    async def connect(cls, port, path, headers=None):
        self = cls()
        self.reader, self.writer = await connection(port)
        self.retry_ms = 0
        self.last_id = ""
        self._text = ""
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            "Accept: text/event-stream",
            *(f"{name}: {value}" for name, value in (headers or {}).items() if name != "Accept"),
        ]
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        self.head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        self.status = int(self.head.split()[1])
        return self

    async def next(self, timeout_s=10):
        """The next event: its fields. Raises EOFError at the end of the stream."""
        async with asyncio.timeout(timeout_s):
            while True:
                while "\n\n" not in self._text:
                    size = int((await self.reader.readuntil(b"\r\n"))[:-2], 16)
                    if size == 0:
                        raise EOFError
                    self._text += (await self.reader.readexactly(size)).decode()
                    await self.reader.readexactly(2)
                block, _, self._text = self._text.partition("\n\n")
                fields = dict(line.partition(": ")[::2] for line in block.split("\n"))
                self.retry_ms = int(fields.get("retry", self.retry_ms))
                self.last_id = fields.get("id", self.last_id)
                if "data" in fields:
                    return fields

    async def leave(self):
        """Go without a word."""
        self.writer.close()
        await asyncio.sleep(0.01)
