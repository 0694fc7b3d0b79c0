"""The threat model: each promise names its tests, and the tests are there."""

import re

from conftest import ROOT

TEXT = (ROOT / "docs" / "security.md").read_text("utf-8")
PROMISES = TEXT.partition("## What the guards promise")[2].partition("\n## ")[0]


def test_the_tests_that_the_threat_model_names_exist():
    written = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text("utf-8"), re.MULTILINE)
    }
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    assert len(named) > 50
    assert named - written == set()


def test_each_promise_has_a_test():
    rows = [line for line in PROMISES.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 30
    assert [row for row in rows if "`test_" not in row] == []
