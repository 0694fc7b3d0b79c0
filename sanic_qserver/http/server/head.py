"""Which heads of requests are read at all: those that every reader takes for the same request (RFC 9112).

A head that two readers may understand differently hides a second request from one of them. Nothing is repaired: white
space before a colon, folded lines, line ends that are not CRLF, control characters, two lengths or two hosts end the
connection with 400, before anything is routed.
"""

import re

from sanic.exceptions import BadRequest

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
# Origin form, absolute form, or "*" (RFC 9112, section 3.2). There is no CONNECT here, and no fragment in a target.
_TARGET = rb"""(?:/[!"$-~]*+|(?i:https?)://[!"$-~]++|\*)"""
_HEAD = re.compile(rb"%b %b HTTP/1\.([01])(?:\r\n%b:[\t -~\x80-\xff]*+)*+" % (_TOKEN, _TARGET, _TOKEN))
_FRAMING = re.compile(rb"\r\n(content-length|transfer-encoding|host):[ \t]*+([^\r]*+)", re.IGNORECASE)
_HOST = re.compile(rb"[\w.~!$&'()*+,;=%:\[\]-]*+", re.ASCII)
_LENGTH = re.compile(rb"[0-9]{1,18}")
# What no head holds, wherever it is cut.
_FORBIDDEN = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r[^\n]|(?<!\r)\n")


def check_beginning(buffer: bytearray, start: int) -> None:
    """Refuse what cannot become a head, without waiting for its end. All before `start` was checked before."""
    if _FORBIDDEN.search(buffer, start):
        raise BadRequest("A bare line end or a control character in a head")


def check_head(head: bytes) -> None:
    """Refuse a head that is ambiguous. `head`: without the empty line at its end. Raises BadRequest."""
    match = _HEAD.fullmatch(head)
    if match is None:
        raise BadRequest("Not a head of HTTP/1.1")
    found: dict[bytes, bytes] = {}
    for name, value in _FRAMING.findall(head):
        if name.lower() in found:
            raise BadRequest("A header that must stand once stands twice")
        found[name.lower()] = value
    is_1_1 = match[1] == b"1"
    host, length = found.get(b"host"), found.get(b"content-length")
    if (host is None and is_1_1) or (host and not _HOST.fullmatch(host.rstrip(b" \t"))):
        raise BadRequest("No Host, or none that can be one")
    if length is not None and not _LENGTH.fullmatch(length.rstrip(b" \t")):
        raise BadRequest("Content-Length is not a number")
    if (coding := found.get(b"transfer-encoding")) is not None and (
        length is not None or not is_1_1 or coding.rstrip(b" \t").lower() != b"chunked"
    ):
        raise BadRequest("Transfer-Encoding other than 'chunked' alone")
