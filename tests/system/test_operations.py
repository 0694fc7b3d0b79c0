"""A stranger at a bare Debian machine types what the chapters about operations say, and it works as it stands there."""

import re

import pytest
from bare_machine import needs_a_bare_machine, run_on_a_bare_machine
from conftest import ROOT, needs

MARK = "@@ section: "
CHAPTERS = ("operations",)


def sections():
    """Title and commands of each section that has any, in order: one shell types them all."""
    for chapter in CHAPTERS:
        text = (ROOT / "docs" / f"{chapter}.md").read_text("utf-8")
        for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
            if commands := re.findall(r"^```bash\n(.*?)```", part, re.DOTALL | re.MULTILINE):
                yield part.partition("\n")[0], "\n".join(commands)


SECTIONS = dict(sections())
# What the world does between two sections, by the section that comes after it.
MEANWHILE: dict[str, str] = {}
LOGS = 'trap "echo; tail -n 30 /run/services/*.log" EXIT\n'


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """What was printed in each section that was reached, and whether all of it was done."""
    needs_a_bare_machine()
    needs("nginx", "openssl", "curl", "sqlite3")
    script = LOGS
    for title, commands in SECTIONS.items():
        script += f"{MEANWHILE.get(title, '')}\necho '{MARK}{title}'\n{commands}"
    done = run_on_a_bare_machine(tmp_path_factory.mktemp("bare"), f"{script}\necho '{MARK}the end'\n")
    printed = dict(part.partition("\n")[::2] for part in done.stdout.split(MARK)[1:])
    titles = [*SECTIONS, "the end"]
    return {title: (titles[number + 1] in printed, done.stdout) for number, title in enumerate(SECTIONS)}


@pytest.mark.slow
@pytest.mark.parametrize("title", SECTIONS)
def test_each_command_of_a_section_works_as_it_stands_there(walked, title):
    is_done, printed = walked[title]
    assert is_done, printed[-6000:]
