"""What changed is told so that a watcher can follow without ever asking again."""

import json
import random

from hypothesis import given, settings, strategies as st

from sanic_qserver.config.settings import LiveConfig
from sanic_qserver.manager.live import diff as changes
from sanic_qserver.manager.live.event_log import EventLog


def queue(uids, running="", versions=None):
    items = [{"item_uid": uid, "name": "count", "version": (versions or {}).get(uid, 0)} for uid in uids]
    running_item = {"item_uid": running, "name": "count"} if running else {}
    reply = {"items": items, "running_item": running_item, "plan_queue_uid": str((uids, running))}
    return changes.parse_queue(json.dumps(reply).encode())


def followed(uids, told):
    """What a watcher makes of the changes: the rules of docs/live.md."""
    uids = list(uids)
    running = None
    for kind, data in told:
        uid = data["item_uid"]
        if kind in ("item_removed", "item_started", "item_moved") and uid in uids:
            uids.remove(uid)
        if kind in ("item_added", "item_moved"):
            after = data["after_uid"]
            uids.insert(0 if after is None else uids.index(after) + 1, uid)
        if kind == "item_started":
            running = uid
        if kind == "item_finished" and running == uid:
            running = None
    return uids, running


names = st.lists(st.sampled_from([f"u{n}" for n in range(12)]), unique=True)


@settings(deadline=None, max_examples=300)
@given(names, names, st.data())
def test_changes_applied_to_the_old_queue_give_the_new_one(old, new, data):
    running = data.draw(st.sampled_from([*(uid for uid in old if uid not in new), "fresh", ""]))
    told = list(changes.diff_queues(queue(old), queue(new, running), []))
    assert followed(old, told) == (new, running or None)


@given(names, st.randoms())
def test_the_fewest_items_are_moved(uids, dice):
    if len(uids) < 2:
        return
    shuffled = list(uids)
    item = shuffled.pop(dice.randrange(len(shuffled)))
    shuffled.insert(dice.randrange(len(shuffled) + 1), item)
    told = list(changes.diff_queues(queue(uids), queue(shuffled), []))
    assert len(told) == (0 if shuffled == uids else 1)


def test_an_item_that_started_and_finished_between_two_looks_is_told_as_both():
    ended = changes.Ended(item_uid="a", name="count", result={"exit_status": "completed", "run_uids": ["r"]})
    told = list(changes.diff_queues(queue(["a", "b"]), queue(["b"]), [ended]))
    assert [(kind, data["item_uid"]) for kind, data in told] == [("item_started", "a"), ("item_finished", "a")]
    assert told[1].data["exit_status"] == "completed"
    assert told[1].data["run_uids"] == ["r"]


def test_an_item_that_was_changed_in_its_place_is_told():
    told = list(changes.diff_queues(queue(["a", "b"]), queue(["a", "b"], versions={"b": 1}), []))
    assert [(kind, data["item_uid"]) for kind, data in told] == [("item_updated", "b")]


def test_a_queue_of_ten_thousand_is_compared_quickly():
    uids = [f"u{n}" for n in range(10_000)]
    shuffled = random.Random(1).sample(uids, len(uids))
    told = list(changes.diff_queues(queue(uids), queue(shuffled), []))
    moved = {data["item_uid"] for _, data in told}
    assert len(moved) == len(told) < len(uids)


def events(kept=5):
    return EventLog(LiveConfig(kept_events=kept), now=lambda: 1.0, epoch="now")


def ids(messages):
    return [message.id for message in messages]


@settings(deadline=None)
@given(st.lists(st.sampled_from(["queue", "console", "lock"]), max_size=40), st.integers(0, 45), st.integers(1, 10))
def test_whoever_continues_gets_all_that_it_missed_or_is_told(published, seen, kept):
    log = events(kept)
    for topic in published:
        log.publish(topic, "x", {})
    continued = log.since(f"now-{seen}", ["queue", "console"])
    for topic in ("queue", "console"):
        missed = [f"now-{n}" for n, other in enumerate(published, 1) if other == topic and n > seen]
        told = [message.id for message in continued.messages if message.topic == topic]
        assert topic in continued.lost_topics or told == missed
        if seen <= len(published) and len(missed) <= kept:
            assert topic not in continued.lost_topics
    numbers = [int(event_id.split("-")[1]) for event_id in ids(continued.messages)]
    assert numbers == sorted(numbers)


def test_an_id_of_another_run_of_the_server_cannot_be_continued_from():
    log = events()
    log.publish("queue", "x", {})
    for event_id in ("then-1", "nonsense", "now-", "now-x", "now-7", "-1", "now--1"):
        assert log.since(event_id, ["queue"]).lost_topics == {"queue"}


def test_a_flood_on_one_topic_does_not_push_out_another():
    log = events(kept=5)
    log.publish("queue", "x", {})
    for _ in range(100):
        log.publish("console", "x", {})
    continued = log.since("now-0", ["queue", "console"])
    assert ids(continued.messages) == ["now-1"]
    assert continued.lost_topics == {"console"}


def test_what_happened_while_nobody_looked_is_told_as_lost():
    log = events()
    log.publish("queue", "x", {})
    log.lose(["queue"])
    assert log.since("now-1", ["queue"]).lost_topics == {"queue"}
    log.publish("queue", "x", {})
    assert ids(log.since("now-2", ["queue"]).messages) == ["now-3"]
