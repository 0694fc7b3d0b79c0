"""`Idempotency-Key` of rows that read lines: the same key goes on with the same submission.

A body that never has to end cannot be compared before it is answered, so each line is: one that was decided before is
not done again and gets its result, and another text in its place is told so (`line_differs`). The rules for keys are
those of `replay`; a submission that is no longer kept is answered with 409, and nothing is done.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import cast

import msgspec
from msgspec import UNSET, Struct, structs

from sanic_qserver.api.call import Call
from sanic_qserver.api.endpoint import LinesEndpoint, ServeLines
from sanic_qserver.errors import Conflict, KeyReused
from sanic_qserver.middleware.idempotency.claims import Claims
from sanic_qserver.middleware.idempotency.keys import Kept, Key, State
from sanic_qserver.middleware.idempotency.replay import HEADER, build_key, fingerprint_call
from sanic_qserver.structs.requests import QueueItemAddStream

_GONE = (
    "The stream that began with this Idempotency-Key is not kept any more: nothing was done now. "
    "Look at the queue and the history before trying again, with a new key"
)


class _First(Struct):
    stream: str


_decode_first = msgspec.json.Decoder(_First).decode


def idempotent_lines(claims: Claims, _: LinesEndpoint, serve: ServeLines) -> ServeLines:
    """The layer IDEMPOTENT around a row that reads lines."""

    async def serve_once(call: Call, chunks: AsyncIterator[Sequence[bytes]]) -> AsyncIterator[bytes]:
        sent = call.headers.get(HEADER)
        if sent is None:
            results = serve(call, chunks)
        else:
            key = build_key(sent, call)
            token = await call.services.bulks.find(key)
            results = serve(_resumed(call, token), chunks) if token else _begun(claims, serve, call, chunks, key)
        async for result in results:
            yield result

    return serve_once


def _resumed(call: Call, token: str) -> Call:
    params = cast("QueueItemAddStream", call.params)
    if params.resume not in (UNSET, token):
        raise KeyReused("This Idempotency-Key was used for another stream: take a new one, or leave it out to resume")
    return replace(call, params=structs.replace(params, resume=token))


async def _begun(
    claims: Claims, serve: ServeLines, call: Call, chunks: AsyncIterator[Sequence[bytes]], key: Key
) -> AsyncIterator[bytes]:
    fingerprint = fingerprint_call(replace(call, params=QueueItemAddStream()))
    before = await claims.claim(key, fingerprint)
    if before is not None and before.fingerprint != fingerprint:
        raise KeyReused("This Idempotency-Key was used for another call: take a new one")
    if before is not None:
        token = await call.services.bulks.find(key)  # Begun while we waited.
        if token is None:
            raise Conflict(_GONE, extra={"outcome": "unknown"})
        async for result in serve(_resumed(call, token), chunks):
            yield result
        return
    results = serve(call, chunks)
    try:
        first = await anext(results)
    except BaseException:
        await claims.release(key)
        raise
    await call.services.bulks.mark(key, _decode_first(first).stream)
    await claims.keep(key, Kept(state=State.UNKNOWN, fingerprint=fingerprint, body=b"a stream of lines"))
    yield first
    async for result in results:
        yield result
