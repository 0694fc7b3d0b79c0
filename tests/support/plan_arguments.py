"""Arguments for the plans of the simulated profile, mostly such that RE Manager accepts."""

from pathlib import Path

from bluesky_queueserver.manager import profile_ops

PROFILE = Path(profile_ops.__file__).parents[1] / "profile_collection_sim"
_PLANS, _DEVICES = profile_ops.load_allowed_plans_and_devices(
    path_existing_plans_and_devices=str(PROFILE / "existing_plans_and_devices.yaml"),
    path_user_group_permissions=str(PROFILE / "user_group_permissions.yaml"),
)[:2]
PLANS, DEVICES = _PLANS["primary"], _DEVICES["primary"]
VALUES = [
    0, 1, -3, 2.5, 5.0, 10**20, True, False, None, "5", "true", "det1", "motor1", "sim_bundle_A.dets.det_A",
    [], {}, ["det1"], ["det1", "det2"], ["motor1"], [1, 2.5], [True], [["motor1", [1, 2]]], {"1": 2}, {"a": "5"},
]  # fmt: skip


def validates(name, plans, args, kwargs):
    item = {"name": name, "args": args, "kwargs": kwargs}
    return profile_ops.validate_plan(item, allowed_plans=plans, allowed_devices=DEVICES)[0]


def find_good_values(parameter):
    """The values that RE Manager accepts for a parameter, when a plan has no other."""
    name, kind = parameter["name"], parameter["kind"]["name"]
    plans = {"p": {"name": "p", "parameters": [parameter]}}
    if kind == "VAR_POSITIONAL":
        return [value for value in VALUES if validates("p", plans, [value], {})]
    return [value for value in VALUES if validates("p", plans, [], {name: value})]


def choose_arguments(plan, good, source):
    """Arguments that are mostly right, one by one; RE Manager judges the whole."""
    args, kwargs = [], {}
    for parameter in plan["parameters"]:
        name, kind = parameter["name"], parameter["kind"]["name"]
        values = good[name] if source.random() < 0.97 and good[name] else VALUES
        if kind == "VAR_POSITIONAL":
            if not kwargs:
                args += [source.choice(values) for _ in range(source.randint(0, 3))]
        elif kind == "VAR_KEYWORD":
            kwargs |= {"more": source.choice(VALUES)} if source.random() < 0.3 else {}
        elif "default" not in parameter or source.random() < 0.4:
            kwargs[name] = source.choice(values)
    return args, kwargs
