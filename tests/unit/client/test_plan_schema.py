"""Words of the command line become the arguments of a plan."""

import pytest

from sanic_qserver.api.items.plan_schema import build_schema
from sanic_qserver.client.failures import WrongUsage
from sanic_qserver.client.plan_schema import build_item


def parameter(name, annotation="", kind="POSITIONAL_OR_KEYWORD", **more):
    described = {"name": name, "kind": {"name": kind}, **more}
    return {**described, "annotation": {"type": annotation}} if annotation else described


READABLES = parameter("detectors", "collections.abc.Sequence[__READABLE__]")
COUNT = build_schema(
    {
        "name": "count",
        "parameters": [
            READABLES,
            parameter("num", "int", default="1", min="1"),
            parameter("delay", "float", default="None"),
            parameter("per_shot", "__CALLABLE__", "KEYWORD_ONLY", default="None"),
            parameter("md", "dict", "KEYWORD_ONLY", default="None"),
        ],
    }
)
SCAN = build_schema(
    {
        "name": "scan",
        "parameters": [
            READABLES,
            parameter("args", kind="VAR_POSITIONAL"),
            parameter("num", "int", "KEYWORD_ONLY", default="None"),
        ],
    }
)
MOVE = build_schema({"name": "move", "parameters": [parameter("motor", "__MOVABLE__"), parameter("to", "float")]})


@pytest.mark.parametrize(
    ("words", "kwargs"),
    [
        ("det1 det2 --num 5", {"detectors": ["det1", "det2"], "num": 5}),
        ("--num=5 det1", {"detectors": ["det1"], "num": 5}),
        ("det1,det2 num=5", {"detectors": ["det1", "det2"], "num": 5}),
        ("--detectors det1 det2 --delay 0.5", {"detectors": ["det1", "det2"], "delay": 0.5}),
        ('["det1","det2"]', {"detectors": ["det1", "det2"]}),
        ('det1 --md {"a":1} --per-shot fast', {"detectors": ["det1"], "md": {"a": 1}, "per_shot": "fast"}),
    ],
)
def test_words_become_arguments_by_name(words, kwargs):
    assert build_item("count", words.split(), COUNT) == {
        "item_type": "plan",
        "name": "count",
        "args": [],
        "kwargs": kwargs,
    }


@pytest.mark.parametrize(
    ("words", "args", "kwargs"),
    [
        ("det1,det2 motor -1 1 --num 11", [["det1", "det2"], "motor", -1, 1], {"num": 11}),
        ("det1 motor -1.5 1e1", [["det1"], "motor", -1.5, 10.0], {}),
    ],
)
def test_what_follows_a_list_is_its_own(words, args, kwargs):
    item = build_item("scan", words.split(), SCAN)
    assert (item["args"], item["kwargs"]) == (args, kwargs)


def test_parameters_are_filled_in_their_order():
    assert build_item("move", ["motor", "-2"], MOVE)["kwargs"] == {"motor": "motor", "to": -2}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("det1 --num five", 'num: "five" is not of type integer'),
        ("det1 --num 0", "num: 0 is less than 1"),
        ("", "detectors missing"),
        ("det1 --nmu 5", "has no parameter 'nmu'"),
        ("det1 --num", "--num needs a value"),
        ("det1 --num 1 num=2", "given twice"),
    ],
)
def test_a_wrong_argument_is_named(words, text):
    with pytest.raises(WrongUsage) as failure:
        build_item("count", words.split(), COUNT)
    assert text in failure.value.text


def test_too_many_words_are_refused():
    with pytest.raises(WrongUsage, match="Too many words: extra"):
        build_item("move", ["motor", "1", "extra"], MOVE)
