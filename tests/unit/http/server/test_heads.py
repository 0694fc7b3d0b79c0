"""Heads and chunks that two readers may understand differently are refused; all others are read."""

import pytest
from sanic.exceptions import BadRequest

from sanic_qserver.http.server.chunks import take_chunk_line
from sanic_qserver.http.server.head import check_beginning, check_head

GOOD = [
    b"GET / HTTP/1.1\r\nHost: x",
    b"GET / HTTP/1.0",
    b'GET /a?b=%00&c="{}|\\^` HTTP/1.1\r\nhost: [::1]:80',
    b"GET http://x:80/a HTTP/1.1\r\nHOST:x",
    b"GET HTTPS://x/a HTTP/1.1\r\nHOST:x",
    b"OPTIONS * HTTP/1.1\r\nHost:",
    b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length:5",
    b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: \t 5 \t",
    b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked",
    b"POST /a HTTP/1.1\r\nHost: x\r\nX-A: \xff\xfe\tb\r\nX-Empty:\r\n!#$%&'*+-.^_`|~: 1",
]
AMBIGUOUS = {
    "space before the colon of Content-Length": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length : 5",
    "tab before the colon of Transfer-Encoding": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding\t: chunked",
    "a leading space": b"POST / HTTP/1.1\r\nHost: x\r\n Content-Length: 5",
    "a folded line": b"GET / HTTP/1.1\r\nHost: x\r\nX-A: 1\r\n\tContent-Length: 5",
    "a first line that is folded": b"GET / HTTP/1.1\r\n Host: x",
    "bare LF": b"GET / HTTP/1.1\r\nHost: x\nContent-Length: 5",
    "bare CR": b"GET / HTTP/1.1\r\nHost: x\rContent-Length: 5",
    "bare CR at the end": b"GET / HTTP/1.1\r\nHost: x\r",
    "NUL in a name": b"GET / HTTP/1.1\r\nHost: x\r\nContent-Len\x00gth: 5",
    "NUL in a value": b"GET / HTTP/1.1\r\nHost: x\r\nX-A: a\x00b",
    "a control character in a value": b"GET / HTTP/1.1\r\nHost: x\r\nX-A: a\x0bb",
    "DEL in a value": b"GET / HTTP/1.1\r\nHost: x\r\nX-A: a\x7fb",
    "no colon": b"GET / HTTP/1.1\r\nHost: x\r\nX-A",
    "no name": b"GET / HTTP/1.1\r\nHost: x\r\n: a",
    "a name that is not ASCII": b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length\xc2\xa0: 5",
    "a letter that lowers to ASCII": "GET / HTTP/1.1\r\nHost: x\r\nX-\u212aey: 5".encode(),
    "two lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\ncontent-length: 5",
    "two lengths that differ": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6",
    "a list of lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5",
    "a signed length": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5",
    "an empty length": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length:",
    "digits that are not ASCII": "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: \uff15".encode(),
    "white space that is not ASCII": "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\xa0".encode(),
    "a length of a hundred digits": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"1" * 100,
    "length and coding": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
    "two codings": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "a list of codings": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked",
    "another coding": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity",
    "a coding of HTTP/1.0": b"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked",
    "no host": b"GET / HTTP/1.1\r\nX-A: b",
    "two hosts": b"GET / HTTP/1.1\r\nHost: x\r\nHost: x",
    "a host with a path": b"GET / HTTP/1.1\r\nHost: x/y",
    "a host with a user": b"GET / HTTP/1.1\r\nHost: a@b",
    "a host with a space": b"GET / HTTP/1.1\r\nHost: a b",
    "an authority as target": b"GET x:443 HTTP/1.1\r\nHost: x",
    "a target that begins with a backslash": b"GET \\api HTTP/1.1\r\nHost: x",
    "NUL in the target": b"GET /api/status\x00 HTTP/1.1\r\nHost: x",
    "a target that is not ASCII": "GET /\xfc HTTP/1.1\r\nHost: x".encode(),
    "a fragment": b"GET /a#b HTTP/1.1\r\nHost: x",
    "two spaces": b"GET  / HTTP/1.1\r\nHost: x",
    "a tab for a space": b"GET\t/ HTTP/1.1\r\nHost: x",
    "a trailing space": b"GET / HTTP/1.1 \r\nHost: x",
    "an empty first line": b"\r\nGET / HTTP/1.1\r\nHost: x",
    "a method that is no token": b"GE(T / HTTP/1.1\r\nHost: x",
    "HTTP/0.9": b"GET /",
    "HTTP/2": b"PRI * HTTP/2.0",
    "a version with more digits": b"GET / HTTP/1.10\r\nHost: x",
}


@pytest.mark.parametrize("head", GOOD)
def test_a_head_that_everybody_reads_alike_is_read(head):
    check_beginning(bytearray(head), 0)
    check_head(head)


@pytest.mark.parametrize("why", AMBIGUOUS)
def test_an_ambiguous_head_is_refused(why):
    with pytest.raises(BadRequest):
        check_head(AMBIGUOUS[why])


@pytest.mark.parametrize("begun", [b"GET / HTTP/1.1\nHost", b"GET / HTTP/1.1\r\nHost: x\rA", b"\x16\x03\x01", b"G\x00"])
def test_what_cannot_become_a_head_is_refused_before_its_end(begun):
    with pytest.raises(BadRequest):
        check_beginning(bytearray(begun), max(0, len(begun) - 2) if b"\n" not in begun else 0)


def test_a_head_of_the_longest_size_is_judged_in_linear_time():
    for filler in (b"a:" * 4000, b"\ta" * 4000, b"X-A: b\r\n" * 1000, b";" * 8000, b" " * 8000):
        with pytest.raises(BadRequest):
            check_head(b"GET / HTTP/1.1\r\nHost: x\r\n" + filler + b"\x00")


def lines_of(data: bytes, step: int) -> list[int]:
    """The sizes that are read from `data`, which holds chunk lines only, and arrives in pieces."""
    buffer, sizes = bytearray(), []
    for start in range(0, len(data), step):
        buffer += data[start : start + step]
        while buffer and (size := take_chunk_line(buffer)) is not None:
            sizes.append(size)
    assert not buffer
    return sizes


@pytest.mark.parametrize("step", [1, 2, 3, 5, 100])
@pytest.mark.parametrize(
    ("data", "sizes"),
    [
        (b"\r\n5\r\n", [5]),
        (b"\r\n00aF\r\n", [175]),
        (b"\r\n5 ;a=b\r\n", [5]),
        (b'\r\n5;a="\xff b"\r\n', [5]),
        (b"\r\n0\r\n\r\n", [0]),
        (b"\r\n000;x\r\n\r\n", [0]),
    ],
)
def test_a_chunk_s_line_is_read_however_it_arrives(data, sizes, step):
    assert lines_of(data, step) == sizes


@pytest.mark.parametrize(
    "data",
    [b"x", b"\n", b"\r\r", b"\r\n\r", b"\r\n-", b"\r\n0x5", b"\r\n ", b"\r\n5 \r\n", b"\r\n5\n", b"\r\n5\r\r",
     b"\r\n5_", b"\r\n5g", b"\r\n5;a\x00", b"\r\n5;a\rb", b"\r\n\xef\xbc\x95", b"\r\n0\r\nX", b"\r\n0\r\nA: b\r\n",
     b"\r\n0\r\n\n", b"\r\n" + b"0" * 13, b"\r\n5;" + b"a" * 300],
)  # fmt: skip
def test_a_malformed_chunk_is_refused_at_its_first_wrong_byte(data):
    buffer = bytearray()
    with pytest.raises(BadRequest):  # noqa: PT012  # the last byte is the wrong one, or the one before it
        for byte in data:
            buffer.append(byte)
            take_chunk_line(buffer)
