"""What is known of an Idempotency-Key, and the interface of the stores that know it.

A claim (`<worker>.<number>`) names the worker that makes the call. It holds for as long as that worker renews its lease
(`LEASE_S`); after that nobody knows whether the call was made: the key's state is `unknown`, and stays so for `keep_s`.
A key is never forgotten before `keep_s` is over. What may go earlier is the answer (`dropped`).
"""

from enum import StrEnum
from typing import Any, NamedTuple, Protocol

import msgspec
from msgspec import Struct, field, structs

LEASE_S = 5.0  # How long a worker that is gone holds its keys.
LARGEST_ANSWER = 20  # One answer takes at most one part in so many of a principal's `max_bytes`.


class Key(NamedTuple):
    """A key, and the principal whose it is: two principals never share one."""

    owner: str
    name: str


class State(StrEnum):
    """How far the first call with a key has come."""

    RUNNING = "running"
    DONE = "done"
    UNKNOWN = "unknown"
    DROPPED = "dropped"  # Done, but its answer is no longer kept.


class Kept(Struct, frozen=True, kw_only=True):
    """What is known of a key. `uids`: those that RE Manager gave to items which may have been added."""

    state: State
    fingerprint: str
    body: bytes = b""
    status: int = 200
    content_type: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    uids: tuple[str, ...] = ()


class StoreUnavailable(Exception):
    """The store cannot be asked now; the text says why. Whether it did what it was told is not known."""


class KeyStore(Protocol):
    """Where keys are claimed and answers kept. Each call is one atomic step. All may raise StoreUnavailable."""

    async def claim(self, key: Key, claim: str, fingerprint: str) -> Kept | None:
        """None: the key is new, or was this worker's already, and is now claimed. Else what is known.

        A key that runs at a worker whose lease has ended becomes `unknown`. Raises TooManyRequests when the owner has
        used too many within `keep_s`.
        """
        ...

    async def read(self, key: Key) -> Kept | None:
        """What is known of a key, without claiming it. None when nothing is."""
        ...

    async def keep(self, key: Key, claim: str, kept: Kept) -> None:
        """Keep what became of a claimed key."""
        ...

    async def release(self, key: Key, claim: str) -> None:
        """Forget a key, if it is still claimed so: nothing was done."""
        ...

    async def renew(self, worker: str) -> None:
        """Let the worker's claims hold for another `LEASE_S`."""
        ...

    async def close(self) -> None:
        """Let go of files and connections."""
        ...


def read_worker(claim: str) -> str:
    """The worker that a claim names."""
    return claim.partition(".")[0]


def without_answer(kept: Kept) -> Kept:
    """The same, with a summary in place of an answer that takes too much room."""
    if kept.state is not State.DONE:
        return structs.replace(kept, body=kept.body[:500])
    try:
        told: Any = msgspec.json.decode(kept.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        told = None
    summary: dict[str, Any] = {"status": kept.status}
    if isinstance(told, dict):
        summary["success"] = told.get("success")
        summary["msg"] = str(told.get("msg", ""))[:200]
        items = [told.get("item"), *(told.get("items") or ())]
        uids = [item["item_uid"] for item in items if isinstance(item, dict) and isinstance(item.get("item_uid"), str)]
        summary["item_uids"] = uids[:100]
    return structs.replace(kept, state=State.DROPPED, body=msgspec.json.encode(summary), headers={})


CUT_OFF = b"The server that made the call ended, or was cut off, before there was an answer"
