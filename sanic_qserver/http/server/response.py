"""A response that is cheap to send: plain headers, written as they are unless somebody looks at them first."""

from collections.abc import Mapping

from sanic import HTTPResponse
from sanic.compat import Header
from sanic.helpers import STATUS_CODES

_STATUS_LINES = {status: f"HTTP/1.1 {status} {text.decode()}\r\n" for status, text in STATUS_CODES.items()}
_BODILESS = frozenset({204, 304})
# What the rows send. Other names go Sanic's way, which knows which of them it sends itself.
_NAMES = frozenset({"X-Request-ID", "X-Content-Type-Options", "RateLimit", "RateLimit-Policy", "ETag", "Cache-Control",
                    "Vary", "Content-Encoding", "Idempotency-Replayed", "Retry-After", "Content-Security-Policy",
                    "Referrer-Policy", "traceresponse"})  # fmt: skip


class Reply(HTTPResponse):
    """What the rows answer with. `fields`: header names and values."""

    __slots__ = ("_fields", "_headers")

    def __init__(self, body: bytes, status: int, fields: Mapping[str, str], content_type: str) -> None:
        # Without super().__init__(), which would make the headers twice.
        self.asgi = False
        self.stream = None
        self.body: bytes = b"" if status in _BODILESS else body
        self.status = status
        self.content_type = content_type
        self._cookies = None
        self._fields = fields
        self._headers: Header | None = None

    @property
    def headers(self) -> Header:  # type: ignore[override]  # an attribute of HTTPResponse
        """The headers, to be read or changed by middleware."""
        if self._headers is None:
            self._headers = Header(self._fields)
        return self._headers

    def head(self, keep_alive: bool) -> bytes | None:
        """The head as it is sent. None when Sanic has to look at the headers."""
        fields = self._fields
        status_line = _STATUS_LINES.get(self.status)
        if self._headers is not None or status_line is None or not fields.keys() <= _NAMES:
            return None
        lines = [f"{name}: {value}\r\n" for name, value in fields.items()]
        if self.status not in _BODILESS:
            lines += (f"content-type: {self.content_type}\r\n", f"content-length: {len(self.body)}\r\n")
        lines.append("connection: keep-alive\r\n" if keep_alive else "connection: close\r\n")
        text = "".join(lines)
        if text.count("\n") != len(lines) or text.count("\r") != len(lines):
            return None  # A value breaks the line: Sanic cleans it.
        return f"{status_line}{text}\r\n".encode(errors="surrogateescape")
