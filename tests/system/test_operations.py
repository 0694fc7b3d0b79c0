"""A stranger at a bare Debian machine types what the chapters about operations say, and it works as it stands there."""

import re

import pytest
from bare_machine import needs_a_bare_machine, run_on_a_bare_machine
from conftest import ROOT, needs

MARK = "@@ section: "
CHAPTERS = ("operations", "runbooks")


def sections():
    """Title and commands of each section that has any, in order: one shell types them all."""
    for chapter in CHAPTERS:
        text = (ROOT / "docs" / f"{chapter}.md").read_text("utf-8")
        for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
            if commands := re.findall(r"^```bash\n(.*?)```", part, re.DOTALL | re.MULTILINE):
                yield part.partition("\n")[0], "\n".join(commands)


SECTIONS = dict(sections())
# What the world does between two sections, by the section that comes after it.
MEANWHILE = {
    "Restore": """
        qsctl add count det1 > /dev/null   # after the backup: it is not restored
        systemctl stop sanic-qserver.socket sanic-qserver.service re-manager redis-server
        rm -rf /etc/sanic-qserver /etc/re-manager /var/lib/sanic-qserver /var/lib/redis/* /var/lib/re-manager/profile
    """,
    "Upgrade": """
        [ -z "$(qsctl queue list --json)" ]   # restored as it was
    """,
    # The next version's tables.
    "Rollback": """
        sqlite3 /var/lib/sanic-qserver/logins.sqlite "UPDATE qserver_alembic_version SET version_num = '9999'"
    """,
    "RE Manager's CURVE key": """
        if qsctl whoami 2> /dev/null; then exit 1; fi   # the secret that signed this login is gone
        echo "$PASSWORD" | qsctl login "https://$NAME" --username alice --password-stdin
    """,
    "Backup and restore of PostgreSQL": """
        [ "$(qserver-admin apikey list service:screen | wc -l)" = 1 ]   # it moved too
    """,
}
LOGS = 'trap "echo; tail -n 30 /run/services/*.log" EXIT\n'


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """What was printed in each section that was reached, and whether all of it was done."""
    needs_a_bare_machine()
    needs("nginx", "openssl", "curl", "sqlite3")
    script = LOGS
    for number, (title, commands) in enumerate(SECTIONS.items()):
        script += f"{MEANWHILE.get(title, '')}\necho '{MARK}{number}'\n{commands}"
    done = run_on_a_bare_machine(tmp_path_factory.mktemp("bare"), f"{script}\necho '{MARK}{len(SECTIONS)}'\n")
    printed = done.stdout.split(MARK)[1:]
    return {title: (len(printed) > number + 1, printed[number:]) for number, title in enumerate(SECTIONS)}


@pytest.mark.slow
@pytest.mark.timeout(330)
@pytest.mark.parametrize("title", SECTIONS)
def test_each_command_of_a_section_works_as_it_stands_there(walked, title):
    is_done, printed = walked[title]
    assert is_done, printed[0] if printed else "not reached"


def test_every_alert_has_a_line_that_says_what_to_do():
    rules = (ROOT / "deploy" / "prometheus-alerts.yaml").read_text()
    table = (ROOT / "docs" / "runbooks.md").read_text().partition("| alert | what is seen |")[2]
    alerts = set(re.findall(r"- alert: (\w+)", rules))
    assert alerts
    assert alerts == set(re.findall(r"`(Qserver\w+)`", table))
