"""`Idempotency-Key`: a call that is sent again is not done again (draft-ietf-httpapi-idempotency-key-header-07).

The rules:
1. A key belongs to the principal who sent it. The same key with the same call gets the first answer, with
   `Idempotency-Replayed: true`; while the first is still running, it waits for it (10 s, then 409). With another
   call: 422.
2. What was certainly not done (nothing that changes anything was sent to RE Manager) leaves no trace: the key may be
   used again, and whoever was refused first goes first.
3. What was sent is never released. What may have been done or not (408, a failure half-way, a server that ended) is
   answered with 409 from then on, with what the queue and the history tell (`known.py`).
4. The first call goes on when its client goes away: its answer is what the client will ask for.
5. A key is never forgotten within `keep_s`. An answer that takes too much room is: then 409, with a summary.
6. Who sends no key pays one look into the headers.
"""

import asyncio
import functools
from dataclasses import replace
from hashlib import blake2b
from typing import Any
from uuid import UUID

import msgspec

from sanic_qserver.api.call import Call
from sanic_qserver.api.endpoint import JSON, Answer, Endpoint, Serve, get_json
from sanic_qserver.errors import BadArguments, Conflict, GatewayError, KeyReused
from sanic_qserver.manager.bodies import Body
from sanic_qserver.manager.client.call import SENDING, Sending
from sanic_qserver.manager.outcomes import is_marked_unknown, uids_in
from sanic_qserver.middleware.idempotency.claims import Claims
from sanic_qserver.middleware.idempotency.keys import Kept, Key, State
from sanic_qserver.middleware.idempotency.known import settle
from sanic_qserver.structs.proposals import ProposalReply

HEADER = "idempotency-key"
REPLAYED = "Idempotency-Replayed"
_LONGEST_KEY = 255


def idempotent(claims: Claims, _: Endpoint, serve: Serve) -> Serve:
    """The layer IDEMPOTENT."""
    running: set[asyncio.Task[Answer]] = set()

    @functools.wraps(serve)
    async def serve_once(call: Call) -> bytes | Body | Answer:
        sent = call.headers.get(HEADER)
        if sent is None:
            return await serve(call)
        key, fingerprint = build_key(sent, call), fingerprint_call(call)
        before = await claims.claim(key, fingerprint)
        if before is not None:
            return await _again(call, before, fingerprint)
        task = asyncio.ensure_future(_first(serve, call, claims, key, fingerprint))
        running.add(task)  # The loop itself keeps no strong reference to a task.
        task.add_done_callback(running.discard)
        task.add_done_callback(_noticed)
        return await asyncio.shield(task)

    return serve_once


def _noticed(task: asyncio.Task[Answer]) -> None:
    """A failure that nobody waits for any more was told to the store; asyncio need not complain of it."""
    if not task.cancelled():
        task.exception()


async def _first(serve: Serve, call: Call, claims: Claims, key: Key, fingerprint: str) -> Answer:
    """Do it, and keep the answer, whether or not somebody still waits for it."""
    sending = Sending(claims.may_send, claims.refused_at(key))
    SENDING.set(sending)  # The task's own: nobody else sees it.
    try:
        given = await serve(call)
    except BaseException as error:
        if sending.writes:
            text = error.detail if isinstance(error, GatewayError) else "The server ended before there was an answer"
            await claims.keep(key, Kept(state=State.UNKNOWN, fingerprint=fingerprint, body=text.encode()))
        else:
            await claims.release(key)
        raise
    answer = given if isinstance(given, Answer) else Answer(get_json(given))
    is_unknown = is_marked_unknown(answer.body)
    await claims.keep(
        key,
        Kept(
            state=State.UNKNOWN if is_unknown else State.DONE, fingerprint=fingerprint,
            body=_reason(answer.body) if is_unknown else answer.body, status=answer.status,
            content_type=answer.content_type, headers=dict(answer.headers),
            uids=uids_in(answer.body) if is_unknown else (),
        ),
    )  # fmt: skip
    return answer


def _reason(body: bytes) -> bytes:
    return str(msgspec.json.decode(body).get("msg", ""))[:500].encode()


async def _again(call: Call, kept: Kept, fingerprint: str) -> Answer:
    if kept.fingerprint != fingerprint:
        raise KeyReused("This Idempotency-Key was used for another call: take a new one")
    if kept.state is State.RUNNING:
        raise Conflict(
            "The first call with this Idempotency-Key is still running: ask again",
            headers={"Retry-After": "2"},
            extra={"state": "running", "outcome": "unknown"},
        )
    if kept.state is State.DROPPED:
        raise Conflict(
            "The call with this Idempotency-Key was made, and its answer is no longer kept; it is not made again",
            extra={"state": "dropped", "outcome": "done", "first_answer": msgspec.json.decode(kept.body)},
        )
    if kept.state is State.UNKNOWN:
        answer = await _find_proposal(call) or await settle(call, kept)
        return replace(answer, headers={REPLAYED: "true"})
    headers = {**kept.headers, REPLAYED: "true"}
    return Answer(kept.body, kept.status, kept.content_type or JSON, headers)


async def _find_proposal(call: Call) -> Answer | None:
    """The answer to a call that made a proposal, or whose items a review turned into one."""
    is_proposal = (call.endpoint.verb, call.endpoint.path) == ("POST", "/proposals")
    if not is_proposal and call.access.review != "automatic":
        return None
    found = await call.services.proposals.find(derive_proposal_id(call))
    if found is not None:
        body = msgspec.json.encode(ProposalReply(success=True, msg="", proposal=found))
        return Answer(body, 201 if is_proposal else 202)
    if is_proposal:
        text = "The first call with this Idempotency-Key was cut off, and made no proposal. Make it with a new key"
        raise Conflict(text, headers={"Retry-After": "2"}, extra={"state": "unknown", "outcome": "not_found"})
    return None


def derive_proposal_id(call: Call) -> str:
    """The id of the proposal that a call with an Idempotency-Key makes; empty for one without: any will do."""
    sent = call.headers.get(HEADER)
    if sent is None:
        return ""
    return str(
        UUID(bytes=blake2b(repr((build_key(sent, call), fingerprint_call(call))).encode(), digest_size=16).digest())
    )


def build_key(sent: str, call: Call) -> Key:
    """The key, under the name of its owner. The draft has it quoted; many clients leave the quotes out."""
    key = sent.strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not key or len(key) > _LONGEST_KEY or not key.isascii() or not key.isprintable():
        raise BadArguments(f"Idempotency-Key: 1 to {_LONGEST_KEY} printable ASCII characters are needed")
    principal = call.access.principal
    return Key(f"{principal.provider}\n{call.fairness_key}", key)


def fingerprint_call(call: Call) -> str:
    """What makes two calls the same: verb, path, params as they were understood, files."""
    params = msgspec.to_builtins(call.params)
    for name in ("user", "user_group"):
        params.pop(name, None)
    parts: list[Any] = [call.endpoint.verb, call.endpoint.path, dict(call.path_args), params, dict(call.unknown)]
    parts += [[name, blake2b(file.body, digest_size=16).hexdigest()] for name, file in sorted(call.files.items())]
    return blake2b(msgspec.json.encode(parts, order="deterministic"), digest_size=16).hexdigest()
