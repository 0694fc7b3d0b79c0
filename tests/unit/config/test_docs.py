"""What the manual shows as configuration is one: each file that stands there is read as the server reads it."""

import re

import pytest
import yaml
from conftest import ROOT

from sanic_qserver.config.settings import load
from sanic_qserver.policy.access.permissions import Permissions
from sanic_qserver.policy.files.documents import parse_document
from sanic_qserver.policy.rates.rules import parse_rate_file

VARIABLES = re.compile(r"\$\{(\w+)\}")


def blocks(chapter, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs" / f"{chapter}.md").read_text("utf-8"), re.DOTALL)


def configurations():
    """Files of settings. One that begins without a section goes on where the one before it ends."""
    for chapter in ("authentication", "policies", "extending", "console"):
        text = ""
        for block in blocks(chapter, "toml"):
            text = block if block.startswith("[") else text + block
            yield pytest.param(text, id=f"{chapter}: {block.splitlines()[1]}")


@pytest.mark.parametrize("text", list(configurations()))
def test_a_configuration_of_the_manual_is_read(text, tmp_path):
    (tmp_path / "config.toml").write_text(text)
    load(tmp_path / "config.toml", environment=dict.fromkeys(VARIABLES.findall(text), "a value of the environment"))


def policies():
    """Policies, each with the roles of the chapter around it."""
    for chapter in ("policies", "items", "agents"):
        contents = [yaml.safe_load(block) for block in blocks(chapter, "yaml")]
        roles = {name: role for content in contents for name, role in content.get("roles", {}).items()}
        for content in contents:
            whole = content if "rates" in content else {**content, "roles": roles}
            yield pytest.param(whole, id=f"{chapter}: {', '.join(content)}")


@pytest.mark.parametrize("content", list(policies()))
def test_a_policy_of_the_manual_is_in_force(content):
    document = parse_document(yaml.safe_dump(content), "policy.yaml")
    if "rates" in content:
        assert parse_rate_file(document).rates
    else:
        Permissions(document)


def test_commands_on_a_servers_database_say_which():
    lines = [
        line for file in (ROOT / "docs").glob("*.md") for line in file.read_text("utf-8").splitlines()
        if line.startswith(("sanic-qserver apikey ", "sanic-qserver db "))
    ]  # fmt: skip
    assert lines
    assert [line for line in lines if "--config" not in line] == []
