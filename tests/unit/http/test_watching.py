"""Where the time of a request went."""

from types import SimpleNamespace

import pytest

from sanic_qserver.http.watching import split_time
from sanic_qserver.manager.client.timeline import Timeline


def called(queued_at, began_at, answered_at):
    return SimpleNamespace(method="status", queued_at=queued_at, began_at=began_at, answered_at=answered_at)


def timeline(*calls):
    made = Timeline()
    made.started_at, made.admitted_at, made.read_at = 100.0, 101.0, 103.0
    for call in calls:
        made.note(call)
    return made


def split(made, taken_s=20.0):
    return {name: pytest.approx(seconds) for name, seconds in split_time(made, taken_s).items()}


def test_calls_one_after_the_other_are_added_up():
    made = timeline(called(104.0, 105.0, 107.0), called(107.0, 107.5, 109.0))
    assert split(made) == {"gate": 1, "body": 2, "queue wait": 1.5, "RE Manager": 3.5, "other": 12}


def test_calls_at_the_same_time_count_once():
    made = timeline(called(104.0, 105.0, 108.0), called(104.0, 108.0, 110.0))
    assert split(made) == {"gate": 1, "body": 2, "queue wait": 1, "RE Manager": 5, "other": 11}


def test_a_call_that_was_not_sent_has_waited_to_the_end():
    assert split(timeline(called(104.0, 0.0, 0.0)))["queue wait"] == 16


def test_a_call_that_others_had_made_before_counts_from_the_request_on():
    shared = SimpleNamespace(call=called(90.0, 104.0, 106.0))
    assert split(timeline(shared, SimpleNamespace(call=None)))["queue wait"] == 4


def test_a_request_that_was_not_admitted_was_in_the_gate():
    made = Timeline()
    assert split(made, 3.0) == {"gate": 3, "body": 0, "queue wait": 0, "RE Manager": 0, "other": 0}


def test_what_a_task_calls_after_the_request_is_not_kept():
    made = timeline()
    made.is_over = True
    made.note(called(104.0, 105.0, 107.0))
    assert made.calls(110.0) == []
