"""`Idempotency-Key`: a call that is sent again is not done again (draft-ietf-httpapi-idempotency-key-header-07).

The rules:
1. A key belongs to the principal who sent it. The same key with the same call gets the first answer, with
   `Idempotency-Replayed: true`; while the first is still running, it waits for it. With another call: 422.
2. What was certainly not done (refused before RE Manager got it) leaves no trace: the key may be used again.
3. What may have been done or not (408) is answered with 409 from then on, with what the queue and the history tell.
4. The first call goes on when its client goes away: its answer is what the client will ask for.
"""

import asyncio
import functools
from hashlib import blake2b
from typing import Any

import msgspec

from sanic_qserver.api.call import Call
from sanic_qserver.api.endpoint import JSON, Answer, Endpoint, Serve, bytes_of
from sanic_qserver.config.settings import Config
from sanic_qserver.errors import BadArguments, Conflict, GatewayError, KeyReused, ManagerTimeout
from sanic_qserver.manager.bodies import Body
from sanic_qserver.middleware.idempotency.redis import RedisAnswers
from sanic_qserver.middleware.idempotency.stored import Kept, KeptAnswers, MemoryAnswers, NoAnswers, State

HEADER = "idempotency-key"
REPLAYED = "Idempotency-Replayed"
_LONGEST_KEY = 255
_IDENTITY = ("user", "user_group", "item_uid")


def build_answers(config: Config) -> KeptAnswers:
    """The store that is configured. Raises ConfigError."""
    if config.idempotency.store != "memory":
        return RedisAnswers(config.idempotency)
    return MemoryAnswers(config.idempotency) if config.server.workers == 1 else NoAnswers()


def idempotent(answers: KeptAnswers, _: Endpoint, serve: Serve) -> Serve:
    """The layer IDEMPOTENT."""
    running: set[asyncio.Task[Answer]] = set()

    @functools.wraps(serve)
    async def serve_once(call: Call) -> bytes | Body | Answer:
        sent = call.headers.get(HEADER)
        if sent is None:
            return await serve(call)
        key, fingerprint = key_of(sent, call), fingerprint_of(call)
        before = await answers.claim(key, fingerprint)
        if before is not None:
            return await _again(call, before, fingerprint)
        task = asyncio.ensure_future(_first(serve, call, answers, key, fingerprint))
        running.add(task)  # The loop itself keeps no strong reference to a task.
        task.add_done_callback(running.discard)
        task.add_done_callback(_noticed)
        return await asyncio.shield(task)

    return serve_once


def _noticed(task: asyncio.Task[Answer]) -> None:
    """A failure that nobody waits for any more was told to the store; asyncio need not complain of it."""
    if not task.cancelled():
        task.exception()


async def _first(serve: Serve, call: Call, answers: KeptAnswers, key: str, fingerprint: str) -> Answer:
    """Do it, and keep the answer, whether or not somebody still waits for it."""
    try:
        given = await serve(call)
    except ManagerTimeout as error:
        await answers.keep(key, Kept(state=State.UNKNOWN, fingerprint=fingerprint, body=error.detail.encode()))
        raise
    except BaseException:
        await answers.release(key)
        raise
    answer = given if isinstance(given, Answer) else Answer(bytes_of(given))
    await answers.keep(
        key,
        Kept(
            state=State.DONE, fingerprint=fingerprint, body=answer.body, status=answer.status,
            content_type=answer.content_type, headers=dict(answer.headers),
        ),
    )  # fmt: skip
    return answer


async def _again(call: Call, kept: Kept, fingerprint: str) -> Answer:
    if kept.fingerprint != fingerprint:
        raise KeyReused("This Idempotency-Key was used for another call: take a new one")
    if kept.state is State.RUNNING:
        raise Conflict(
            "The first call with this Idempotency-Key is still running, or was cut off: look at the state, try again",
            headers={"Retry-After": "5"},
            extra={"outcome": "unknown"},
        )
    if kept.state is State.UNKNOWN:
        raise await _what_is_known(call, kept)
    headers = {**kept.headers, REPLAYED: "true"}
    return Answer(kept.body, kept.status, kept.content_type or JSON, headers)


async def _what_is_known(call: Call, kept: Kept) -> GatewayError:
    """The 409 of an unknown outcome. An item that was to be added is looked for in the queue and the history."""
    text = f"The outcome of the first call with this Idempotency-Key is unknown ({kept.body.decode()}). "
    item = getattr(call.params, "item", None)
    if call.endpoint.method not in ("queue_item_add", "queue_item_execute") or not isinstance(item, dict):
        return Conflict(text + "Look at the state before trying again, with a new key", extra={"outcome": "unknown"})
    uids = await _uids_of_equals(call, item)
    if uids:
        text += "An equal item of yours is in the queue or the history; whether it is this one cannot be told"
        return Conflict(text, extra={"outcome": "unknown", "equal_item_uids": uids})
    # RE Manager answers in order: what came before this look has been done, or never will be.
    text += "No equal item of yours is in the queue or the history: it was not added, unless it was removed since"
    return Conflict(text, extra={"outcome": "not_found", "equal_item_uids": []})


async def _uids_of_equals(call: Call, item: dict[str, Any]) -> list[str]:
    queue: dict[str, Any] = msgspec.json.decode(await call.manager.request("queue_get", fairness_key=call.fairness_key))
    history: dict[str, Any] = msgspec.json.decode(
        await call.manager.request("history_get", fairness_key=call.fairness_key)
    )
    found = [*queue.get("items", ()), queue.get("running_item") or {}, *history.get("items", ())]
    wanted = {**{name: value for name, value in item.items() if name not in _IDENTITY}, "user": call.access.user}
    return [
        other["item_uid"]
        for other in found
        if "item_uid" in other and all(other.get(name) == value for name, value in wanted.items())
    ]


def key_of(sent: str, call: Call) -> str:
    """The key, under the name of its owner. The draft has it quoted; many clients leave the quotes out."""
    key = sent.strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not key or len(key) > _LONGEST_KEY or not key.isascii() or not key.isprintable():
        raise BadArguments(f"Idempotency-Key: 1 to {_LONGEST_KEY} printable ASCII characters are needed")
    principal = call.access.principal
    return f"{principal.provider}\n{call.fairness_key}\n{key}"


def fingerprint_of(call: Call) -> str:
    """What makes two calls the same: verb, path, params as they were understood, files."""
    params = msgspec.to_builtins(call.params)
    for name in ("user", "user_group"):
        params.pop(name, None)
    parts: list[Any] = [call.endpoint.verb, call.endpoint.path, dict(call.path_args), params, dict(call.unknown)]
    parts += [[name, blake2b(file.body, digest_size=16).hexdigest()] for name, file in sorted(call.files.items())]
    return blake2b(msgspec.json.encode(parts, order="deterministic"), digest_size=16).hexdigest()
