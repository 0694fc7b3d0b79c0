"""The lines between the chunks of a chunked body (RFC 9112, section 7.1), read strictly and as early as possible."""

import re

from sanic.exceptions import BadRequest

# A chunk's size with the line end before it. Extensions are read over; trailers are refused.
_LINE = re.compile(rb"\r\n([0-9A-Fa-f]{1,12}+)(?:[ \t]*+;[\t -~\x80-\xff]*+)?+\r\n")
_BEGINNING = re.compile(rb"(?:\r(?:\n(?:[0-9A-Fa-f]{1,12}+[ \t]*+(?:;[\t -~\x80-\xff]*+)?+\r?)?)?)?")
_LONGEST = 256


def take_chunk_line(buffer: bytearray) -> int | None:
    """Take the line before a chunk from the buffer: the chunk's size, 0 for the last one.

    None when more has to arrive. The last chunk is taken with the empty line after it.
    Raises BadRequest at the first byte that cannot be right.
    """
    match = _LINE.match(buffer)
    if match is None:
        if len(buffer) > _LONGEST or not _BEGINNING.fullmatch(buffer):
            raise BadRequest("Bad chunked encoding")
        return None
    size, end = int(match[1], 16), match.end()
    del match  # It holds the buffer, which could not shrink.
    if size == 0:
        rest = buffer[end : end + 2]
        if not b"\r\n".startswith(rest):
            raise BadRequest("Bad chunked encoding, or trailers")
        if len(rest) < 2:
            return None
        end += 2
    del buffer[:end]
    return size
