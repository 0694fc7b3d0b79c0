"""A small websocket client and a small reader of server-sent events.

Our own: the versions of `websockets` differ between tests and installations, and a reader that stops reading,
or vanishes, is needed here.
"""

import asyncio
import base64
import os
import struct


class Closed(Exception):
    """The server closed; args: code, reason."""


class Watcher:
    """A websocket client: handshake, text frames, close codes."""

    @classmethod
    async def connect(cls, port, path, headers=None):
        self = cls()
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
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
