"""gzip for streams: each tick is compressed once, for all watchers alike, whenever they came.

That works since each tick becomes blocks that refer to nothing before them (RFC 1951, section 3.2.3) and end on a byte
(`Z_SYNC_FLUSH`): any row of them, behind a header, is one gzip stream. It is never ended by a checksum, which would be
another for each watcher; nor does a stream end, but by being cut.
"""

import zlib

_LARGE = 16_384  # bytes
HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # RFC 1952, section 2.3: deflate, no name, no time, any system


def block(data: bytes) -> bytes:
    """The data as blocks that stand by themselves; nothing for nothing."""
    if not data:
        return b""
    level = 6 if len(data) < _LARGE else 1  # What a watcher begins with is its own, and may be large.
    compressor = zlib.compressobj(level, zlib.DEFLATED, -15)
    return compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether the client takes gzip (RFC 9110, section 12.5.3)."""
    for part in accept_encoding.lower().split(","):
        name, _, more = part.strip().partition(";")
        if name.strip() == "gzip":
            return more.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
