"""Files of any kind become the right plans, or a clear error, within limits of time and memory."""

import contextlib
import datetime as dt
import io
import time
import zipfile

import openpyxl
import pytest
from conftest import DATA
from sheets import GOOD, HEADER, SHEET, csv, lying_zip_bomb, many_rows, patched, with_entities, xlsx, zip_bomb

from sanic_qserver.api.spreadsheets.formats import read_grid
from sanic_qserver.api.spreadsheets.grid import BadSheet, Limits, column_name
from sanic_qserver.api.spreadsheets.isolation import Isolation
from sanic_qserver.api.spreadsheets.sheet_plans import read_plans

PLANS = [
    {"item_type": "plan", "name": "count", "args": [["det1", "det2"]], "kwargs": {"num": 10}},
    {"item_type": "plan", "name": "count", "kwargs": {"delay": 0.5, "detectors": ["det1"]}},
]


def read(name, body, sheet="", **limits):
    """The items of a file, read in this process."""
    return [plan.item for plan in read_plans(read_grid(name, body, sheet, Limits(**limits))).plans]


def mistake(name, body, sheet="", **limits):
    with pytest.raises(BadSheet) as raised:
        read(name, body, sheet, **limits)
    return str(raised.value)


def test_a_workbook_becomes_plans():
    assert read("plans.xlsx", xlsx(*GOOD)) == PLANS


def test_macros_are_not_looked_at():
    body = io.BytesIO(xlsx(*GOOD))
    with zipfile.ZipFile(body, "a") as archive:
        archive.writestr("xl/vbaProject.bin", b"\xd0\xcf\x11\xe0 not a macro at all")
    assert read("plans.xlsm", body.getvalue()) == PLANS


def test_the_example_of_re_managers_documentation_becomes_plans():
    rows = [
        ["'count'", "['det1', 'det2']", 10.0, None, None],
        ["'count'", "['det1']", None, 0.5, None],
        ["'count'", None, None, 0.5, "['det1']"],
        [None, None, None, None, None],
        ["'scan'", "['det1', 'det2'], 'motor', -1, 1", 10.0, None, None],
        ["'scan'", "['det1', 'det2'], 'motor', -1, 1, 10", None, None, None],
    ]
    plans = read("plans.xlsx", xlsx(*rows))
    assert [plan["name"] for plan in plans] == ["count", "count", "count", "scan", "scan"]
    assert plans[3]["args"] == [["det1", "det2"], "motor", -1, 1]
    assert plans[3]["kwargs"] == {"num": 10}
    assert plans[4]["args"] == [["det1", "det2"], "motor", -1, 1, 10]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv_files_of_any_country_become_plans(separator):
    lines = [["plan", "args", "num", "delay"], ["count", "\"['det1']\"", "10.0", "0.5"], ["", "", "", ""]]
    body = b"\xef\xbb\xbf" + "\r\n".join(separator.join(line) for line in lines).encode()
    assert read("plans.csv", body) == [
        {"item_type": "plan", "name": "count", "args": [["det1"]], "kwargs": {"num": 10, "delay": 0.5}}
    ]


@pytest.mark.parametrize("name", ["plans.xls", "plans.ods"])
def test_ods_and_xls_files_become_plans(name):
    assert read(name, (DATA / name).read_bytes()) == PLANS


def test_a_damaged_xls_or_ods_file_is_a_clear_error():
    for name in ("plans.xls", "plans.ods"):
        body = (DATA / name).read_bytes()
        for place in range(0, len(body), 97):
            damaged = body[:place] + bytes([body[place] ^ 0xFF]) + body[place + 1 :]
            with contextlib.suppress(BadSheet):
                read(name, damaged)
            with contextlib.suppress(BadSheet):
                read(name, body[:place])


def test_hidden_entities_are_refused_by_the_parser():
    declaration = b'<!DOCTYPE x [<!ENTITY e "x">]>'
    body = with_entities(xlsx(), declaration, b"&e;")
    hidden = patched(body, SHEET, lambda xml: xml.decode().encode("utf-16"))
    assert "EntitiesForbidden" in mistake("a.xlsx", hidden)


@pytest.mark.parametrize(
    ("cell", "value"),
    [("det1", "det1"), ("stage.x", "stage.x"), ("'free text'", "free text"), ("-1.5", -1.5), ("TRUE", True),
     ("{'a': (1, 2)}", {"a": [1, 2]}), (3.0, 3), (3.25, 3.25), (True, True), ("None", None), (" 'x' ", "x"),
     ("1e3", 1000), ("'1+1'", "1+1")],
)  # fmt: skip
def test_a_cell_is_a_literal_or_a_bare_name(cell, value):
    (plan,) = read("a.xlsx", xlsx(["count", None, cell]))
    assert plan["kwargs"] == {"num": value}


@pytest.mark.parametrize(
    "cell",
    ["1 + 1", "__import__('os').system('touch /tmp/evaluated')", "print(1)", "[1, 2", "two words", "#REF!", "{1, 2}",
     "1e999", "b'x'", "...", "(" * 5000, "9" * 30, "{1: 2}", "1j", "lambda: 0", "f'{1}'", "[x for x in (1,)]",
     dt.date(2024, 5, 1), dt.time(1, 2)],
)  # fmt: skip
def test_anything_else_is_refused_with_its_place(cell):
    text = mistake("a.xlsx", xlsx(["count"], ["count", None, cell]))
    assert "sheet 'Sheet', row 3, column C ('num')" in text


def test_a_formula_text_in_csv_is_refused():
    assert "row 2, column C ('num'): '=1+1' is a formula" in mistake("a.csv", csv("count,,=1+1"))


def test_all_mistakes_are_told_at_once():
    text = mistake("a.xlsx", xlsx(["count", None, "1+"], ["2", "['x'"], ["count"]))
    for place in ("row 2, column C", "row 3, column A", "row 3, column B"):
        assert place in text


def test_a_formula_without_a_computed_value_is_refused():
    text = mistake("a.xlsx", xlsx(["count", "['det1']", "=1+1"]))
    assert "row 2, column C holds a formula without a computed value" in text


def test_a_computed_formula_gives_its_value():
    body = patched(
        xlsx(["count", None, "=1+1"]),
        SHEET,
        lambda xml: xml.replace(b"<v></v>", b"<v>2</v>").replace(b"<v />", b"<v>2</v>").replace(b"<v/>", b"<v>2</v>"),
    )
    (plan,) = read("a.xlsx", body)
    assert plan["kwargs"] == {"num": 2}


def test_merged_cells_are_refused():
    body = xlsx(["count", "['det1']"], [None, "['det2']"], change=lambda book: book.active.merge_cells("A2:A3"))
    assert "are merged" in mistake("a.xlsx", body)


def test_a_sheet_is_chosen_by_name_or_number():
    def change(book):
        second = book.create_sheet("Second")
        second.append(HEADER)
        second.append(["scan"])

    body = xlsx(["count"], change=change)
    for sheet in ("Second", "2"):
        assert [plan["name"] for plan in read("a.xlsx", body, sheet)] == ["scan"]
    assert "no sheet 'Third'; the workbook has 'Sheet', 'Second'" in mistake("a.xlsx", body, "Third")


def test_rows_are_counted_as_the_spreadsheet_program_shows_them():
    book = openpyxl.Workbook()
    book.active["A3"], book.active["A5"], book.active["A9"] = "plan", "count", "1+"
    file = io.BytesIO()
    book.save(file)
    assert "row 9, column A" in mistake("a.xlsx", file.getvalue())


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("a.xlsx", b"", "is empty"),
        ("a.xlsx", b"nonsense", "not a readable .xlsx workbook"),
        ("a.xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(1000), "protected by a password"),
        ("a.xlsx", xlsx(header=[]), "sheet 'Sheet' is empty"),
        ("a.xls", b"nonsense", "no .xls workbook"),
        ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(1000), "no readable .xls workbook"),
        ("a.ods", b"nonsense", "no readable .ods workbook"),
        ("a.csv", b"\xff\xfe\x00", "not UTF-8"),
        ("a.csv", b'a,b\n"' + b"x" * 20_000, "line 2"),
        ("a.exe", b"MZ", "the ending '.exe' is not supported"),
        ("noending", b"x", "the ending '' is not supported"),
    ],
)
def test_a_broken_file_is_a_clear_error(name, body, said):
    assert said in mistake(name, body)


def test_a_truncated_workbook_is_a_clear_error():
    body = xlsx(*GOOD)
    for length in range(0, len(body), 97):
        mistake("a.xlsx", body[:length])


def test_flipped_bytes_never_raise_anything_else():
    body = xlsx(*GOOD)
    for place in range(0, len(body), 23):
        damaged = body[:place] + bytes([body[place] ^ 0xFF]) + body[place + 1 :]
        with contextlib.suppress(BadSheet):
            read("a.xlsx", damaged)


def test_external_entities_are_refused(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("the-secret")
    declaration = f'<!DOCTYPE x [<!ENTITY e SYSTEM "{secret.as_uri()}">]>'.encode()
    text = mistake("a.xlsx", with_entities(xlsx(), declaration, b"&e;"))
    assert "the-secret" not in text
    assert "(entities)" in text


def test_entities_that_grow_are_refused():
    lines = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(9))
    declaration = f'<!DOCTYPE x [<!ENTITY l0 "lol">{lines}]>'.encode()
    assert "(entities)" in mistake("a.xlsx", with_entities(xlsx(), declaration, b"&l9;"))


def test_a_zip_bomb_is_refused_before_it_is_unpacked():
    text = mistake("a.xlsx", zip_bomb(), max_unpacked_bytes=50_000_000)
    assert "bytes when unpacked; at most 50000000 are read" in text


def test_a_zip_bomb_that_lies_about_its_size_is_refused():
    mistake("a.xlsx", lying_zip_bomb())


@pytest.mark.slow
def test_a_million_rows_are_refused_soon():
    body = many_rows(1_000_000)
    started = time.monotonic()
    assert "more than 20000 rows" in mistake("a.xlsx", body)
    assert time.monotonic() - started < 60  # Typically 3 s.


def test_too_many_columns_and_characters_are_refused():
    assert "more than 5 columns" in mistake("a.xlsx", xlsx(["count", *range(9)]), max_columns=5)
    assert "holds 500 characters" in mistake("a.xlsx", xlsx(["count", "x" * 500]), max_cell_chars=400)


def test_the_worker_ends_when_its_time_is_over():
    with pytest.raises(BadSheet, match="took more than"):
        Isolation(Limits(timeout_s=0.05)).read("a.xlsx", xlsx(*GOOD))


def test_the_worker_ends_when_its_memory_is_used_up():
    isolation = Isolation(Limits(max_memory_bytes=300_000_000, max_unpacked_bytes=2_000_000_000))
    with pytest.raises(BadSheet, match="memory"):
        isolation.read("a.xlsx", zip_bomb(300_000_000))


def test_the_worker_gives_plans_and_grids():
    isolation = Isolation(Limits())
    plans = isolation.read("a.xlsx", xlsx(*GOOD)).plans
    assert [plan.item for plan in plans.plans] == PLANS
    assert [plan.row for plan in plans.plans] == [2, 3]
    grid = isolation.read("a.xlsx", xlsx(*GOOD), as_grid=True)
    assert grid.rows[1] == (2, ["'count'", "['det1', 'det2']", 10])


def test_columns_are_named_as_spreadsheet_programs_do():
    assert [column_name(number) for number in (1, 26, 27, 702, 703)] == ["A", "Z", "AA", "ZZ", "AAA"]
