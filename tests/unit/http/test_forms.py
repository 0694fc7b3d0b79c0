"""Forms are UTF-8, complete, and of a bounded number of parts; all else is refused with a 4xx."""

import random
from urllib.parse import quote

import httpx
import pytest
from fuzz import ROUNDS, SEED, changed

from sanic_qserver.errors import BodyTooLarge, GatewayError, UnreadableBody, UnsupportedMediaType
from sanic_qserver.http.forms import MOST_PARTS, parse_multipart, parse_urlencoded

TYPE = "multipart/form-data; boundary=xyz"


def encoded(**parts):
    """A form as httpx sends it: body and content type."""
    request = httpx.Request("POST", "http://x/", **parts)
    return request.read(), request.headers["content-type"]


def part(head, content=b"value", end=b"\r\n--xyz--\r\n"):
    return b"--xyz\r\n" + head + b"\r\n\r\n" + content + end


def test_fields_and_files_come_out_as_they_went_in():
    content = bytes(range(256)) * 50 + b"\r\n--xy\r\n\r\n"
    body, kind = encoded(data={"ä": "ö\r\n", "b": ["1", ""]}, files={"f": ('a "b".csv', content, "text/csv")})
    form = parse_multipart(body, kind)
    assert form.fields == [("ä", "ö\r\n"), ("b", "1"), ("b", "")]
    (file,) = form.files
    assert (file.name, file.file_name, file.content_type, file.body) == ("f", 'a "b".csv', "text/csv", content)


def test_preamble_epilogue_and_extended_file_names_are_understood():
    head = b"Content-Disposition: form-data; name=f; filename*=UTF-8''%c3%a4.csv"
    form = parse_multipart(b"preamble\r\n" + part(head, b"") + b"epilogue", TYPE)
    assert [(file.file_name, file.body) for file in form.files] == [("ä.csv", b"")]


@pytest.mark.parametrize("codec", ["punycode", "utf-7", "latin-1", "unicode_escape", "idna", "hex", "no-such"])
def test_a_part_in_another_charset_than_utf_8_is_415(codec):
    head = f"Content-Disposition: form-data; name=username\r\nContent-Type: text/plain; charset={codec}"
    with pytest.raises(UnsupportedMediaType):
        parse_multipart(part(head.encode(), b"a" * 800_000), TYPE)
    with pytest.raises(UnsupportedMediaType):
        parse_multipart(part(b"Content-Disposition: form-data; name=a"), f"{TYPE}; charset={codec}")


@pytest.mark.parametrize(
    ("body", "kind", "error"),
    [
        (part(b"Content-Disposition: form-data; name=a", b"\xff"), TYPE, UnreadableBody),
        (part(b"Content-Disposition: form-data; name=\xff"), TYPE, UnreadableBody),
        (part(b"Content-Disposition: form-data"), TYPE, UnreadableBody),
        (part(b"X: " + b"y" * 10_000), TYPE, UnreadableBody),
        (part(b"Content-Disposition: form-data; name=a", end=b""), TYPE, UnreadableBody),
        (part(b"Content-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: base64"), TYPE,
         UnsupportedMediaType),
        (part(b"Content-Disposition: form-data; name=f; filename*=latin-1''a"), TYPE, UnsupportedMediaType),
        (b"", TYPE, UnreadableBody),
        (b"--xyz", TYPE, UnreadableBody),
        (b"nothing of the kind", TYPE, UnreadableBody),
        (part(b"Content-Disposition: form-data; name=a"), "multipart/form-data", UnreadableBody),
        (part(b"Content-Disposition: form-data; name=a"), "multipart/form-data; boundary=", UnreadableBody),
        (part(b"Content-Disposition: form-data; name=a"), 'multipart/form-data; boundary="\xe4"', UnreadableBody),
        (part(b"Content-Disposition: form-data; name=a", end=b"\r\n") * (MOST_PARTS + 1) + b"--xyz--", TYPE,
         BodyTooLarge),
    ],
)  # fmt: skip
def test_what_is_no_form_of_ours_is_refused_by_name(body, kind, error):
    with pytest.raises(error):
        parse_multipart(body, kind)


def test_many_fields_and_long_urlencoded_bodies_are_413():
    for text in ("a=1&" * 1001, "a=" + "%41" * 100_000):
        with pytest.raises(BodyTooLarge):
            parse_urlencoded(text)
    for body in (b"a=%ff", b"\xff=1"):
        with pytest.raises(UnreadableBody):
            parse_urlencoded(body)


PIECES = [b"", b"\r\n", b"--xyz", b"\r\n\r\n", b"\0", b'"', b";", b"=", b"\xff"]


def test_fuzzed_forms_are_read_or_refused():
    random_ = random.Random(SEED)
    head = b'Content-Disposition: form-data; name="a"; filename="b.csv"\r\nContent-Type: text/csv; charset=utf-8'
    good = part(head, end=b"\r\n") + part(b"Content-Disposition: form-data; name=c", quote("ä").encode())
    outcomes = set()
    for _ in range(ROUNDS):
        kind = changed(random_, TYPE.encode(), PIECES).decode("latin-1") if random_.random() < 0.1 else TYPE
        try:
            form = parse_multipart(changed(random_, good, PIECES), kind)
        except GatewayError as error:
            outcomes.add(error.status)
        else:
            assert sum(len(file.body) for file in form.files) <= 3 * len(good)
            outcomes.add(200)
    assert outcomes == {200, 415, 422}
