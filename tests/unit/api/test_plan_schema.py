"""Schemas of plans, held against RE Manager's own validation code, which the demo extra installs."""

import inspect
import json
import random

import jsonschema
import pytest
from bluesky_queueserver.manager import profile_ops
from plan_arguments import PLANS, choose_arguments, find_good_values, validates

from sanic_qserver.api.items.plan_schema import build_schema


def described(kind="POSITIONAL_OR_KEYWORD", type_="typing.Any", **more):
    """The schema of the only parameter `x` of a plan."""
    annotation = {"type": type_, **{name: more.pop(name) for name in ("devices", "plans", "enums") if name in more}}
    parameter = {"name": "x", "kind": {"name": kind, "value": 1}, "annotation": annotation, **more}
    return build_schema({"name": "p", "parameters": [parameter]})["properties"]["x"]


def accepts(schema, value):
    return jsonschema.Draft202012Validator(schema).is_valid(value)


@pytest.mark.parametrize("name", sorted(PLANS))
def test_no_arguments_that_re_manager_accepts_are_refused_by_the_schema(name):
    plan = PLANS[name]
    schema = build_schema(plan)
    jsonschema.Draft202012Validator.check_schema(schema)
    signature = inspect.Signature(profile_ops.construct_parameters(plan["parameters"]))
    source = random.Random(name)
    good = {parameter["name"]: find_good_values(parameter) for parameter in plan["parameters"]}
    accepted = 0
    for _ in range(80):
        args, kwargs = choose_arguments(plan, good, source)
        if validates(name, PLANS, args, kwargs):
            accepted += 1
            bound = json.loads(json.dumps(signature.bind(*args, **kwargs).arguments))
            errors = [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(bound)]
            assert not errors, (bound, errors)
    assert accepted, "no arguments were found that RE Manager accepts: the test proves nothing"


@pytest.mark.parametrize(
    ("type_", "good", "bad"),
    [
        ("float", [1, 2.5, True], ["5", None, []]),
        ("int", [1], [True, "5", 2.5, None]),
        ("str", ["a"], [1, None, True]),
        ("bool", [True, 0, 1], ["true", 2, None]),
        ("typing.Optional[int]", [None, 1], ["a"]),
        ("int | None", [None, 1], ["a"]),
        ("typing.List[float]", [[1, 2.5], []], ["a", {}, [[]], ["5"]]),
        ("list", [[1, "a"]], [{}, "a"]),
        ("tuple[int, str]", [[1, "a"]], [[1], ["a", 1], [1, "a", 2]]),
        ("tuple[int, ...]", [[1, 2, 3], []], [["a"]]),
        ("collections.abc.Sequence[__READABLE__]", [["det1"]], ["det1", [1], {}]),
        ("dict[str, typing.Any] | None", [{}, None, {"a": 1}], [[], "a"]),
        ("typing.Literal['a', 'b']", ["a"], ["c", 1]),
        ("collections.abc.Hashable", ["a", 1, None], [[], {}]),
        ("a_type.of_the[facility]", [1, "a", [], None], []),
        ("not python at all (", [1, "a"], []),
    ],
)  # fmt: skip
def test_a_type_is_said_as_exactly_as_json_schema_can(type_, good, bad):
    schema = described(type_=type_)
    assert all(accepts(schema, value) for value in good)
    assert not any(accepts(schema, value) for value in bad)


def test_allowed_devices_and_enums_are_choices_with_their_nesting():
    devices = described(type_="typing.List[Dets]", devices={"Dets": ["det1", "det1.val"]})
    assert devices["items"]["enum"] == ["det1", "det1.val"]
    assert not accepts(devices, ["det2"])
    assert described(type_="Mode", enums={"Mode": ["a", "b"]})["enum"] == ["a", "b"]


def test_a_range_holds_for_the_numbers_inside_and_a_step_is_a_hint_since_re_manager_does_not_check_it():
    schema = described(type_="typing.List[float]", min="-10", max="10", step="0.01")
    assert accepts(schema, [10, -10])
    assert not accepts(schema, [10.5])
    assert accepts(schema, [0.005])
    assert schema["x-qserver-step"] == 0.01
    assert "multipleOf" not in json.dumps(schema)


def test_defaults_are_given_where_they_are_json():
    assert described(default="[1, 'a', None]")["default"] == [1, "a", None]
    assert "default" not in described(default="(1, 2)")
    assert "default" not in described(default="inf")


@pytest.mark.parametrize("kind", ["POSITIONAL_ONLY", "VAR_POSITIONAL", "VAR_KEYWORD"])
def test_parameters_that_are_not_plain_names_say_their_kind(kind):
    assert described(kind)["x-qserver-kind"] == kind


def test_only_plans_with_keyword_arguments_of_any_name_take_further_names():
    plain = build_schema({"name": "p", "parameters": [{"name": "x", "kind": {"name": "KEYWORD_ONLY"}}]})
    assert plain["additionalProperties"] is False
    assert plain["required"] == ["x"]
    open_ = build_schema({"name": "p", "parameters": [{"name": "more", "kind": {"name": "VAR_KEYWORD"}}]})
    assert open_["additionalProperties"] is True
    assert open_["required"] == []
