"""What RE Manager's answer to an add proves: everything was added, nothing was, or it cannot be told.

RE Manager 0.0.25, `queue_item_add` and `queue_item_add_batch`, and every way in which they fail:

1. Before anything (params, lock key, user group): all in memory. `Failed to add an item: …` in RE Manager's own words,
   no `results`, no items. **Nothing was added.**
2. Validation, in memory: `Failed to add all items: validation of n out of m submitted items failed`, a result for every
   item, and those that failed begin `Failed to add a plan: `. **Nothing was added**, and the good ones are known.
3. While the items go to Redis, one by one: the same sentence, but results begin `Failed to add item to queue: `.
   a. The place does not exist (`pos`, `before_uid`): each item fails alike, unwritten. **Nothing was added.**
   b. Redis fails at item k (refuses, is loading, closes the connection, times out): those before k are removed again,
      each by a call that may fail as well and is only logged; item k may have been written although its answer was
      lost; those after k are tried all the same. **Any part may be in the queue.** `items` have their new uids.
4. Redis fails when the size of the queue is read at the end, with all items in the queue: `Failed to add an item: …`
   with Redis' words, no `results`, no items. **All were added**, and nothing says so.
5. A single add that fails after its validation echoes the item with a new uid; then 3 holds for it, else 1 or 2.

`queue_item_remove_batch` skips what it cannot remove without a word, so that an undo of ours is believed only for the
items that the reply names.
"""

import re
from collections.abc import Sequence
from enum import Enum
from typing import Any

import msgspec
from msgspec import Raw, Struct

from sanic_qserver.manager.replies import decode_as, decode_reply

_VALIDATED = re.compile(r"Failed to add all items: validation of (\d+) out of (\d+) submitted items failed\Z")
_NOT_VALID = "Failed to add a plan: "
_NOT_PLACED = "Failed to add item to queue: "
_ALONE = "Failed to add an item: "
_BEFORE_ANYTHING = re.compile(
    re.escape(_ALONE) + r"(API request contains unsupported parameters"
    r"|Invalid lock key|Lock key must be|Incorrect request format|Invalid request format|Unknown user group)"
)
_NO_SUCH_PLACE = re.compile(
    rf"(?:{re.escape(_NOT_PLACED)}|{re.escape(_ALONE)})"
    r"(Ambiguous parameters|Plan with UID '.*' is not in the queue\.\Z|Can not insert a plan in the queue before"
    r"|Parameter 'pos' has incorrect|Index '.*' is out of range|Could not find an existing plan at)",
    re.DOTALL,
)
_UNKNOWN = b', "outcome": "unknown"}'


class Verdict(Enum):
    """What an answer proves."""

    ADDED = "added"
    NOT_VALID = "not valid"  # Nothing was added, and `results` tells the good items from the bad.
    REFUSED = "refused"  # Nothing was added.
    UNKNOWN = "unknown"


class ItemResult(Struct, frozen=True):
    """What became of one item of a batch."""

    success: bool
    msg: str = ""

    @property
    def is_invalid(self) -> bool:
        """Whether the validation refused it."""
        return not self.success and self.msg.startswith(_NOT_VALID)

    @property
    def msg_alone(self) -> str:
        """The text that a single add of the item would have got."""
        return _ALONE + self.msg.removeprefix(_NOT_VALID).removeprefix(_NOT_PLACED)


class BatchReply(Struct, frozen=True):
    """The answer to `queue_item_add_batch`. Items are not looked into: they hold whatever was sent."""

    success: bool
    msg: str = ""
    qsize: int | None = None
    items: list[Raw] = []
    results: list[ItemResult] = []


class _AddReply(Struct, frozen=True):
    success: bool
    msg: str = ""
    item: Any = None


_decode_batch = msgspec.json.Decoder(BatchReply).decode
_decode_add = msgspec.json.Decoder(_AddReply).decode


def read_batch(reply: bytes) -> BatchReply | None:
    """The answer; None when it is none: then the outcome is unknown."""
    try:
        return decode_as(_decode_batch, reply)
    except msgspec.DecodeError:
        return None


def judge(reply: BatchReply | None, count: int) -> Verdict:
    """What the answer to a batch of so many items proves."""
    if reply is None:
        return Verdict.UNKNOWN
    if reply.success:
        return Verdict.ADDED if len(reply.items) == count and reply.qsize is not None else Verdict.UNKNOWN
    results = reply.results
    if not results:
        return Verdict.REFUSED if not reply.items and _BEFORE_ANYTHING.match(reply.msg) else Verdict.UNKNOWN
    said = _VALIDATED.match(reply.msg)
    failed = [result for result in results if not result.success]
    if said is None or len(results) != count or (int(said[1]), int(said[2])) != (len(failed), count) or not failed:
        return Verdict.UNKNOWN
    if all(result.is_invalid for result in failed):
        return Verdict.NOT_VALID
    is_nowhere = len(failed) == count and all(_NO_SUCH_PLACE.match(result.msg) for result in failed)
    return Verdict.REFUSED if is_nowhere else Verdict.UNKNOWN


def judge_add(reply: bytes, item: Any) -> Verdict:
    """What the answer to a single add of an item proves."""
    try:
        read = decode_as(_decode_add, reply)
    except msgspec.DecodeError:
        return Verdict.UNKNOWN
    if read.success:
        return Verdict.ADDED
    sent_uid = item.get("item_uid") if isinstance(item, dict) else None
    is_validated = isinstance(read.item, dict) and read.item.get("item_uid", sent_uid) != sent_uid
    return Verdict.UNKNOWN if is_validated and not _NO_SUCH_PLACE.match(read.msg) else Verdict.REFUSED


def told_add(reply: bytes, item: Any) -> bytes:
    """The answer to a single add as its caller is told it: with `outcome` where nothing is proved."""
    if reply.startswith((b'{"success": true', b'{"success":true')):
        return reply
    return mark_unknown(reply) if judge_add(reply, item) is Verdict.UNKNOWN else reply


def told_batch(reply: bytes, items: Any) -> bytes:
    """The same for the answer to a batch."""
    if reply.startswith((b'{"success": true', b'{"success":true')):
        return reply
    count = len(items) if isinstance(items, Sequence) else 0
    return mark_unknown(reply) if judge(read_batch(reply), count) is Verdict.UNKNOWN else reply


def mark_unknown(reply: bytes) -> bytes:
    """The JSON object with one more member: `"outcome": "unknown"`."""
    return reply.rstrip()[:-1] + _UNKNOWN if reply.rstrip().endswith(b"}") else reply


def is_marked_unknown(reply: bytes) -> bool:
    """Whether `mark_unknown` made it."""
    return reply.endswith(_UNKNOWN)


def uids_in(reply: bytes) -> tuple[str, ...]:
    """The uids that RE Manager gave to items of a failed call: some may be in the queue."""
    told = decode_reply(reply)
    items = [told.get("item"), *(told.get("items") or ())]
    return tuple(item["item_uid"] for item in items if isinstance(item, dict) and isinstance(item.get("item_uid"), str))
