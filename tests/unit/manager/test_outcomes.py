"""What RE Manager's answers to adds prove, one by one as `manager/outcomes.py` lists them."""

import msgspec
import pytest

from sanic_qserver.manager.outcomes import (
    Verdict,
    is_marked_unknown,
    judge,
    judge_add,
    mark_unknown,
    read_batch,
    told_add,
    told_batch,
)

GOOD = {"success": True, "msg": ""}
INVALID = {"success": False, "msg": "Failed to add a plan: Plan 'x' is not in the list of allowed plans"}
BROKEN = {"success": False, "msg": "Failed to add item to queue: Connection closed by server."}
NOWHERE = {"success": False, "msg": "Failed to add item to queue: Plan with UID 'x' is not in the queue."}
ITEMS = [{"name": "count"}, {"name": "count"}]


def batch(success, msg, results, items=None, qsize=7):
    return {"success": success, "msg": msg, "qsize": qsize, "items": ITEMS if items is None else items,
            "results": results}  # fmt: skip


def validation(failed, count=2):
    return f"Failed to add all items: validation of {failed} out of {count} submitted items failed"


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        (batch(True, "", [GOOD, GOOD]), Verdict.ADDED),
        (batch(False, validation(1), [GOOD, INVALID]), Verdict.NOT_VALID),
        (batch(False, "Failed to add an item: Unknown user group: 'x'", [], []), Verdict.REFUSED),
        (batch(False, "Failed to add an item: Invalid lock key: \nlocked by x", [], []), Verdict.REFUSED),
        (batch(False, validation(2), [NOWHERE, NOWHERE]), Verdict.REFUSED),
        # One sentence for a failed validation and for a Redis that failed half-way.
        (batch(False, validation(1), [GOOD, BROKEN]), Verdict.UNKNOWN),
        (batch(False, validation(2), [BROKEN, BROKEN]), Verdict.UNKNOWN),
        (batch(False, validation(2), [INVALID, BROKEN]), Verdict.UNKNOWN),
        (batch(False, validation(1), [GOOD, NOWHERE]), Verdict.UNKNOWN),
        # Redis failed at the end, when all were added.
        (batch(False, "Failed to add an item: Error 111 connecting to localhost:6379.", [], []), Verdict.UNKNOWN),
        (batch(False, "Failed to add an item: Redis is loading the dataset in memory", [], []), Verdict.UNKNOWN),
        # What does not fit together.
        (batch(False, validation(1), [GOOD, GOOD]), Verdict.UNKNOWN),
        (batch(False, validation(1), [INVALID]), Verdict.UNKNOWN),
        (batch(False, validation(1, 3), [GOOD, INVALID]), Verdict.UNKNOWN),
        (batch(False, "Something else", [GOOD, INVALID]), Verdict.UNKNOWN),
        (batch(True, "", [GOOD], ITEMS[:1]), Verdict.UNKNOWN),
        (batch(True, "", [GOOD, GOOD], qsize=None), Verdict.UNKNOWN),
        ({"nothing": "of it"}, Verdict.UNKNOWN),
    ],
)
def test_only_what_is_proved_counts_as_added_or_refused(reply, verdict):
    encoded = msgspec.json.encode(reply)
    assert judge(read_batch(encoded), 2) is verdict
    is_told_unknown = verdict is Verdict.UNKNOWN and not reply.get("success")
    assert is_marked_unknown(told_batch(encoded, ITEMS)) is is_told_unknown


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ({"success": True, "msg": "", "qsize": 1, "item": {"item_uid": "new"}}, Verdict.ADDED),
        ({"success": False, "msg": "Failed to add an item: nope", "item": {"name": "x"}}, Verdict.REFUSED),
        ({"success": False, "msg": "Failed to add an item: nope", "item": {"item_uid": "mine"}}, Verdict.REFUSED),
        ({"success": False, "msg": "Failed to add an item: locked", "item": None}, Verdict.REFUSED),
        (
            {"success": False, "msg": "Failed to add an item: Plan with UID 'x' is not in the queue.",
             "item": {"item_uid": "new"}}, Verdict.REFUSED,
        ),
        (
            {"success": False, "msg": "Failed to add an item: Connection closed by server.",
             "item": {"item_uid": "new"}}, Verdict.UNKNOWN,
        ),
        ([], Verdict.UNKNOWN),
    ],
)  # fmt: skip
def test_a_single_add_that_got_its_uid_and_failed_is_unknown(reply, verdict):
    encoded = msgspec.json.encode(reply)
    item = {"name": "count", "item_uid": "mine"}
    assert judge_add(encoded, item) is verdict
    if verdict is not Verdict.UNKNOWN:
        assert told_add(encoded, item) is encoded


def test_the_mark_is_one_more_member():
    marked = mark_unknown(b'{"success": false, "msg": "x"}')
    assert msgspec.json.decode(marked) == {"success": False, "msg": "x", "outcome": "unknown"}
    assert is_marked_unknown(marked)
    assert not is_marked_unknown(b'{"success": false, "msg": "x"}')
