"""How a kept reply is sent: whole, compressed, or as "you have it already" (304).

RE Manager's uid makes a strong validator, RFC 9110 section 8.8: one for each of the plain, gzip and zstd forms.
"""

import asyncio
import gzip
import re
from collections.abc import Mapping

import zstandard

from sanic_qserver.manager.bodies import Body

# Private: what one caller may read is nobody else's. No-cache: ask each time, which costs little here.
CACHE_CONTROL = "private, no-cache"
VARY = "Accept-Encoding, Authorization, Cookie"
_IN_THREAD_BYTES = 100_000  # From here on compressing takes more than about a millisecond.
_CODING = re.compile(r"\s*([\w*-]+)\s*(?:;\s*q\s*=\s*([\d.]+))?\s*")

Represented = tuple[int, bytes, dict[str, str]]
"""Status, bytes and headers."""


async def represent(body: Body, headers: Mapping[str, str], compress_from_bytes: int) -> Represented:
    """The form of a kept reply that suits these request headers."""
    if not body.uid:
        return 200, body.json, {}
    coding = ""
    if len(body.json) >= compress_from_bytes:
        coding = preferred(headers.get("accept-encoding", ""))
    etag = f'"{body.tag}.{coding}"' if coding else f'"{body.tag}"'
    answer = {"ETag": etag, "Cache-Control": CACHE_CONTROL, "Vary": VARY}
    known = headers.get("if-none-match")
    if known is not None and (known.strip() == "*" or body.tag in known):
        return 304, b"", answer
    if not coding:
        return 200, body.json, answer
    answer["Content-Encoding"] = coding
    return 200, await _compressed(body, coding), answer


def preferred(accept_encoding: str) -> str:
    """The coding to use for this `Accept-Encoding`: "zstd", "gzip", or "" for none. Preferred here is zstd."""
    if "zstd" not in accept_encoding and "gzip" not in accept_encoding:
        return ""
    weights: dict[str, float] = {}
    for part in accept_encoding.lower().split(","):
        if match := _CODING.fullmatch(part):
            weights[match[1]] = _weight(match[2])
    good = {coding: weights.get(coding, 0.0) for coding in ("zstd", "gzip")}
    best = max(good, key=lambda coding: good[coding])
    return best if good[best] > 0 else ""


def _weight(text: str | None) -> float:
    try:
        return 1.0 if text is None else float(text)
    except ValueError:
        return 0.0


async def _compressed(body: Body, coding: str) -> bytes:
    """The compressed bytes, made once; callers that ask meanwhile wait for the same."""

    def start() -> "asyncio.Future[bytes]":
        made: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        if len(body.json) < _IN_THREAD_BYTES:
            made.set_result(compress(body.json, coding))
            return made
        work = asyncio.get_running_loop().run_in_executor(None, compress, body.json, coding)
        return asyncio.ensure_future(work)

    made = body.made(coding, start)
    # Shielded: one caller that goes away must not take it from the others.
    return made.result() if made.done() else await asyncio.shield(made)


def compress(data: bytes, coding: str) -> bytes:
    """The data in a coding."""
    if coding == "zstd":
        return zstandard.ZstdCompressor(level=3).compress(data)
    return gzip.compress(data, compresslevel=5, mtime=0)
