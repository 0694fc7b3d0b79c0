"""A response whose headers are cheap to send: Sanic cleans and encodes each name and value again for each answer."""

from collections.abc import Iterator, Mapping

from sanic import HTTPResponse

_ENCODED: Mapping[str, bytes] = {
    name.lower(): name.encode()
    for name in ("content-type", "content-length", "connection", "X-Request-ID", "ETag", "Cache-Control", "Vary",
                 "Content-Encoding", "RateLimit", "RateLimit-Policy", "alt-svc")
}  # fmt: skip


class Reply(HTTPResponse):
    """What the rows answer with."""

    __slots__ = ()

    @property
    def processed_headers(self) -> Iterator[tuple[bytes, bytes]]:
        """Names and values as bytes."""
        headers = self.headers
        if self.status != 304:
            headers.setdefault("content-type", self.content_type)
        encoded: list[tuple[bytes, bytes]] = []
        for name, value in headers.items():
            text = value if type(value) is str else str(value)
            if "\n" in text or "\r" in text:
                return super().processed_headers
            encoded.append((_ENCODED.get(name) or name.encode("ascii"), text.encode(errors="surrogateescape")))
        return iter(encoded)
