"""What the project says about itself holds together: versions, constraints, checks."""

import re
import tomllib

import pytest
import yaml
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sanic_qserver import __version__

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
CONSTRAINTS = [
    Requirement(line)
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
]
REQUIREMENTS = sorted(
    {
        line
        for lines in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
        for line in lines
        if not line.startswith("sanic-qserver[")
    }
)


def test_the_version_has_one_source():
    assert "version" in PROJECT["dynamic"]
    assert "version" not in PROJECT


def test_the_changelog_has_a_section_for_the_version():
    versions = re.findall(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert versions[0] == __version__


@pytest.mark.parametrize("requirement", REQUIREMENTS)
def test_the_constraints_cover_a_dependency_within_its_range(requirement):
    wanted = Requirement(requirement)
    name = canonicalize_name(wanted.name)
    found = [one for one in CONSTRAINTS if canonicalize_name(one.name) == name]
    assert found, f"constraints.txt lacks {name}: its first lines say how it is written"
    for one in found:
        (pinned,) = one.specifier
        assert pinned.operator == "=="
        assert wanted.specifier.contains(pinned.version, prereleases=True), f"{one} is outside of {wanted}"


def test_the_hooks_before_a_commit_are_checks_of_ci():
    configured = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    checks = (ROOT / ".ci" / "run").read_text("utf-8").splitlines()
    for repository in configured["repos"]:
        assert repository["repo"] == "local", "hooks of other hosts cannot be fetched everywhere"
        for hook in repository["hooks"]:
            assert f".venv/bin/{hook['entry']}" in checks


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "SECURITY.md", "docs/architecture.md"])
def test_every_file_that_is_named_is_there(document):
    text = (ROOT / document).read_text("utf-8")
    named = set(re.findall(r"`((?:sanic_qserver|docs|tests|plugins|policies|benchmarks|\.ci)/[^` ]*)`", text))
    named |= {target for target in re.findall(r"\]\(((?!http)[^)#]+)\)", text) if document != "docs/architecture.md"}
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_every_chapter_is_in_the_contents_of_the_site():
    index = (ROOT / "docs" / "index.md").read_text("utf-8").splitlines()
    chapters = {str(file.relative_to(ROOT / "docs").with_suffix("")) for file in (ROOT / "docs").rglob("*.md")}
    assert chapters - set(index) == {"index"}, "docs/index.md lists each chapter in a toctree"
