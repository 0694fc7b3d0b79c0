"""Spreadsheets for tests, made by hand: also those that no spreadsheet program would write."""

import io
import zipfile

import openpyxl

HEADER = ["plan_name", "args", "num", "delay", "detectors"]
GOOD = [["'count'", "['det1', 'det2']", 10, None, None], ["count", None, None, 0.5, "['det1']"]]


def xlsx(*rows, header=HEADER, change=None):
    """A workbook with a header and rows."""
    book = openpyxl.Workbook()
    sheet = book.active
    for row in (header, *rows):
        sheet.append(row)
    if change is not None:
        change(book)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def csv(*lines):
    return "\n".join(["plan_name,args,num,delay", *lines]).encode()


def patched(body, part, change):
    """The archive with one part changed."""
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(body)) as old, zipfile.ZipFile(result, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, change(content) if name == part else content)
    return result.getvalue()


SHEET = "xl/worksheets/sheet1.xml"
ROWS_BEFORE = b'<row r="%d"><c r="A%d" t="inlineStr"><is><t>count</t></is></c></row>'


def many_rows(count):
    """A small file with many rows, as a hostile one."""
    body = xlsx()
    rows = b"".join(ROWS_BEFORE % (number, number) for number in range(2, count + 2))
    return patched(body, SHEET, lambda xml: xml.replace(b"</sheetData>", rows + b"</sheetData>"))


def zip_bomb(size=60_000_000):
    """A small workbook that unpacks to something large."""
    return patched(xlsx(*GOOD), SHEET, lambda xml: xml + b" " * size)


def lying_zip_bomb():
    """The same, but the archive announces 100 bytes."""
    body = bytearray(patched(xlsx(*GOOD), SHEET, lambda xml: xml + b" " * 60_000_000))
    with zipfile.ZipFile(io.BytesIO(bytes(body))) as archive:
        size = archive.getinfo(SHEET).file_size.to_bytes(4, "little")
    assert body.count(size) >= 2
    return bytes(body.replace(size, (100).to_bytes(4, "little")))


def with_entities(body, declaration, reference):
    """A workbook with a DTD in its sheet."""

    def change(xml):
        start = xml.index(b"<worksheet")
        return xml[:start] + declaration + xml[start:].replace(b"<t>count</t>", b"<t>" + reference + b"</t>")

    inline = patched(body, SHEET, lambda xml: xml.replace(b"</sheetData>", ROWS_BEFORE % (2, 2) + b"</sheetData>"))
    return patched(inline, SHEET, change)
