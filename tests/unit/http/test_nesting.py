"""The depth of JSON is found without decoding, whatever its strings hold and wherever a block ends."""

import json
import random

import pytest

from sanic_qserver.errors import UnreadableBody
from sanic_qserver.http import nesting
from sanic_qserver.http.nesting import check_nesting

TRICKY = '[]{}\\"ab\n'


def made(random_, deepest):
    """Any JSON value; its strings are full of brackets, quotes and backslashes."""
    kind = random_.random()
    text = "".join(random_.choice(TRICKY) for _ in range(random_.randrange(12)))
    if deepest == 0 or kind < 0.3:
        return text
    parts = [made(random_, deepest - 1) for _ in range(random_.randrange(4))]
    return parts if kind < 0.65 else {f"{text}{at}": part for at, part in enumerate(parts)}


def depth(value):
    if not isinstance(value, (list, dict)):
        return 0
    return 1 + max(map(depth, value.values() if isinstance(value, dict) else value), default=0)


@pytest.mark.parametrize("block", [5, 16, 65_536])
def test_the_depth_is_exact(block, monkeypatch):
    monkeypatch.setattr(nesting, "_BLOCK", block)
    random_ = random.Random(block)
    for _ in range(500):
        value = [made(random_, random_.randrange(9)) for _ in range(10)]
        body, deepest = json.dumps(value).encode(), depth(value)
        check_nesting(body, deepest)
        brackets = sum(map(body.count, (b"[", b"]", b"{", b"}")))
        if brackets > 2 * (deepest - 1):  # Fewer cannot be nested deeper.
            with pytest.raises(UnreadableBody):
                check_nesting(body, deepest - 1)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":"' + b"[" * 5_000_000 + b'"}',
        b'{"a":"' + b'\\"[' * 1_500_000 + b'"}',
        b"[" + b'"",' * 1_500_000 + b'""]',
        b"[" + b"[]," * 1_500_000 + b"[]]",
    ],
    ids=["brackets in a string", "escaped quotes", "empty strings", "siblings"],
)
def test_brackets_in_strings_and_beside_each_other_are_no_depth(body):
    check_nesting(body, 2)
