"""Forms: multipart (RFC 7578) and urlencoded. UTF-8 only, within limits, and in linear time.

Not Sanic's parser: that decodes a part with whatever codec the part names (800 kB of `punycode` took 75 s), and
swallows what it cannot read.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote_to_bytes

from sanic.headers import parse_content_header

from sanic_qserver.errors import BodyTooLarge, UnreadableBody, UnsupportedMediaType

MULTIPART = "multipart/form-data"
URLENCODED = "application/x-www-form-urlencoded"
MOST_FIELDS = 1000
MOST_PARTS = 100
MOST_URLENCODED_BYTES = 262_144  # Unquoting takes some 80 bytes of memory and 130 ns for each byte.
OFF_LOOP_FROM = 65_536  # Bytes of a form that is read in a thread.
_MOST_HEAD_BYTES = 8192
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
_PLAIN_ENCODINGS = frozenset({"", "7bit", "8bit", "binary"})


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart form. `file_name` None: a field, whose value is text."""

    name: str
    body: bytes
    file_name: str | None = None
    content_type: str = "text/plain"


@dataclass(frozen=True, slots=True)
class Form:
    """Fields as pairs in their order, and files."""

    fields: list[tuple[str, str]] = field(default_factory=list)
    files: list[Part] = field(default_factory=list)


async def read_multipart(body: bytes, content_type: str) -> Form:
    """The form, read in a thread when it is large. Raises as `parse_multipart`."""
    if len(body) < OFF_LOOP_FROM:
        return parse_multipart(body, content_type)
    return await asyncio.to_thread(parse_multipart, body, content_type)


def parse_multipart(body: bytes, content_type: str) -> Form:
    """Fields and files of a multipart form.

    Raises UnsupportedMediaType (415), UnreadableBody (422), or BodyTooLarge (413) for too many parts.
    """
    form = Form()
    for head, content in _split(body, _find_boundary(content_type)):
        part = _read_part(head, content)
        if part.file_name is None:
            form.fields.append((part.name, decode_text(content, f"form field '{part.name[:50]}'")))
        else:
            form.files.append(part)
    return form


def parse_urlencoded(text: str | bytes) -> list[tuple[str, str]]:
    """Pairs of a query string or an urlencoded body. Raises UnreadableBody (422) or BodyTooLarge (413)."""
    if len(text) > MOST_URLENCODED_BYTES:
        raise BodyTooLarge(f"A form of more than {MOST_URLENCODED_BYTES} bytes: send JSON, or multipart/form-data")
    if isinstance(text, bytes):
        text = decode_text(text, "body")
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except UnicodeDecodeError:
        raise UnreadableBody("The query string or form is not UTF-8") from None
    except ValueError:
        raise BodyTooLarge(f"More than {MOST_FIELDS} fields") from None


def check_charset(content_type: str) -> None:
    """Refuse a form in anything but UTF-8. Raises UnsupportedMediaType (415)."""
    _check_charset(parse_content_header(content_type)[1])


def decode_text(body: bytes, what: str) -> str:
    """The text. Raises UnreadableBody (422)."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise UnreadableBody(f"The {what} is not UTF-8") from None


def _find_boundary(content_type: str) -> bytes:
    _, options = parse_content_header(content_type)
    _check_charset(options)
    boundary = options.get("boundary", "")
    if not isinstance(boundary, str) or not 1 <= len(boundary) <= 70 or not boundary.isascii():
        raise UnreadableBody("The Content-Type of a multipart form needs a boundary of 1 to 70 ASCII characters")
    return boundary.encode()


def _split(body: bytes, boundary: bytes) -> list[tuple[bytes, bytes]]:
    """Head and content of each part (RFC 2046, section 5.1.1)."""
    delimiter = b"\r\n--" + boundary
    at = 0 if body.startswith(delimiter[2:]) else body.find(delimiter) + 2
    if at == 1:
        raise UnreadableBody("The form does not contain its boundary")
    at += len(delimiter) - 2
    parts: list[tuple[bytes, bytes]] = []
    while not body.startswith(b"--", at):
        if len(parts) == MOST_PARTS:
            raise BodyTooLarge(f"More than {MOST_PARTS} form parts")
        begin = body.find(b"\r\n", at, at + 100)  # White space may follow a boundary.
        # Back by two: a part without a head begins with the empty line at once.
        head_end = body.find(b"\r\n\r\n", begin, begin + _MOST_HEAD_BYTES)
        end = body.find(delimiter, head_end + 2)
        if begin == -1 or head_end == -1 or end == -1 or body[at:begin].strip(b" \t"):
            raise UnreadableBody("The form is cut off, or not multipart as RFC 7578 describes it")
        parts.append((body[begin + 2 : head_end], body[head_end + 4 : end]))
        at = end + len(delimiter)
    return parts


def _read_part(head: bytes, content: bytes) -> Part:
    disposition: dict[str, str] = {}
    content_type = "text/plain"
    for line in decode_text(head, "head of a form part").split("\r\n"):
        header, _, value = line.partition(":")
        kind, options = parse_content_header(value.strip())
        match header.strip().lower():
            case "content-disposition":
                disposition = {name: text for name, text in options.items() if isinstance(text, str)}
            case "content-type":
                _check_charset(options)
                content_type = kind
            case "content-transfer-encoding" if kind not in _PLAIN_ENCODINGS:
                raise UnsupportedMediaType(f"Form parts in '{kind[:20]}': send the bytes as they are")
    if "name" not in disposition:
        raise UnreadableBody("A form part has no name")
    return Part(disposition["name"], content, _file_name(disposition), content_type)


def _file_name(disposition: dict[str, str]) -> str | None:
    if (extended := disposition.get("filename*")) is None:
        return disposition.get("filename")
    charset, _, value = extended.partition("'")
    if charset.lower() != "utf-8":
        raise UnsupportedMediaType("File names in UTF-8 only")
    return decode_text(unquote_to_bytes(value.partition("'")[2]), "name of a file")


def _check_charset(options: Mapping[str, object]) -> None:
    charset = str(options.get("charset", "utf-8"))
    if charset.lower() not in _CHARSETS:
        raise UnsupportedMediaType(f"Forms are read as UTF-8, not '{charset[:20]}'")
