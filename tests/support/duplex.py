"""A bulk stream whose lines and results go both ways at the same time, which HTTP clients seldom can."""

import asyncio

import msgspec
from bulk_lines import PATH
from servers import KEY


class Duplex:
    """A connection that sends lines and reads results at its own pace."""

    def __init__(self, port, prefix=""):
        self.port, self.prefix = port, prefix
        self.results = []

    async def open(self, query="", more=""):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = f"POST {self.prefix}{PATH}{query} HTTP/1.1\r\nHost: x\r\nAuthorization: ApiKey {KEY}\r\n"
        self.writer.write((head + more).encode() + b"Transfer-Encoding: chunked\r\n\r\n")
        await self.reader.readuntil(b"\r\n\r\n")
        return await self.line()

    def send(self, body):
        self.writer.write(b"%x\r\n%b\r\n" % (len(body), body))

    def end(self):
        self.writer.write(b"0\r\n\r\n")

    async def line(self):
        while not self.results:
            size = int((await self.reader.readline()).strip(), 16)
            chunk = await self.reader.readexactly(size)
            await self.reader.readline()
            self.results += [msgspec.json.decode(line) for line in chunk.splitlines() if line.strip()]
        return self.results.pop(0)

    def break_off(self):
        self.writer.transport.abort()
