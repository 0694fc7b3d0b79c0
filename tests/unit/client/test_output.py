import pytest

from sanic_qserver.client import run
from sanic_qserver.client.failures import WrongUsage
from sanic_qserver.client.options import hoist
from sanic_qserver.client.output import clean, lay_out
from sanic_qserver.client.profiles import clean_server


def test_text_of_the_instrument_cannot_steer_the_terminal():
    assert clean("\x1b]0;title\x07a\x1b[31mred\x1b[0m\r\nb\tc\x9b2J") == "]0;titleared\nb\tc2J"


def test_a_table_is_as_wide_as_its_cells_and_no_wider_than_the_terminal():
    assert lay_out(("a", "name"), [["1", "long name"]]) == ["A  NAME", "1  long name"]
    assert max(map(len, lay_out(("a", "name"), [["1", "x" * 200]], 80))) == 80


@pytest.mark.parametrize(
    ("given", "server"),
    [
        ("host.example/prefix/", "https://host.example/prefix"),
        ("http://host:60610/api", "http://host:60610"),
        ("localhost:60610", "http://localhost:60610"),
    ],
)
def test_addresses_are_understood_as_people_write_them(given, server):
    assert clean_server(given) == server


@pytest.mark.parametrize("given", ["ftp://host", "https://"])
def test_an_address_that_is_none_is_refused(given):
    with pytest.raises(WrongUsage):
        clean_server(given)


def test_no_line_of_the_lists_of_commands_is_cut(capsys):
    for group in ([], ["queue"], ["item"], ["proposals"], ["environment"], ["plan"], ["profile"], ["apikey"]):
        run([*group, "--help"])
        lines = capsys.readouterr().out.splitlines()
        assert [line for line in lines if line.endswith("...") and not line.startswith("Usage")] == [], group


def test_common_options_stand_anywhere_before_two_dashes():
    options, rest = hoist(["queue", "--json", "list", "--server=https://a", "--", "--json"])
    assert options.is_json
    assert options.server == "https://a"
    assert rest == ["queue", "list", "--", "--json"]


@pytest.mark.parametrize("words", [["--server"], ["--timeout", "soon"], ["--timeout", "-1"]])
def test_a_common_option_without_a_good_value_is_wrong_usage(words):
    with pytest.raises(WrongUsage):
        hoist(words)
