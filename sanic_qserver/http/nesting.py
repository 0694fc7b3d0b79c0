"""How deep JSON is nested, found in one pass over the bytes, without decoding and without recursion."""

from itertools import accumulate

from sanic_qserver.errors import UnreadableBody

_BLOCK = 65_536  # Bytes looked at in one step: what splitting needs besides the body stays below some MB.
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # As signed bytes: one down, one up.


def check_nesting(body: bytes, limit: int) -> None:
    """Refuse valid JSON that is nested deeper than `limit`. Decode it first: what is not JSON is not understood here.

    Raises UnreadableBody.
    """
    if len(body.translate(None, _NOT_BRACKETS)) <= 2 * limit:
        return
    depth, is_inside, start = 0, False, 0
    while start < len(body):
        end = _end_of_block(body, start)
        # Two backslashes stand for one, a backslash before a quote takes its meaning: then each quote is a border.
        parts = body[start:end].replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')
        outside = b"".join(parts[is_inside::2]).translate(_STEPS, _NOT_BRACKETS)
        steps = memoryview(outside).cast("b")
        if max(accumulate(steps, initial=depth)) > limit:
            raise UnreadableBody(f"The body is nested deeper than {limit} levels")
        depth += sum(steps)
        is_inside ^= len(parts) % 2 == 0
        start = end


def _end_of_block(body: bytes, start: int) -> int:
    """Where a block ends: never between a backslash and what it escapes."""
    end = min(start + _BLOCK, len(body))
    backslashes = end - len(body[start:end].rstrip(b"\\")) - start
    return end + (backslashes % 2 if end < len(body) else 0)
