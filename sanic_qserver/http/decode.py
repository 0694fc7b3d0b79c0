"""Body, query string or form -> the row's struct. Every mistake is a 4xx that names the field."""

import re
from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

import msgspec
from msgspec import UnsetType

from sanic_qserver.errors import BadArguments, UnreadableBody, UnsupportedMediaType
from sanic_qserver.http.forms import URLENCODED, check_charset, parse_urlencoded
from sanic_qserver.http.nesting import check_nesting
from sanic_qserver.structs.requests import Params
from sanic_qserver.texts import Text, names

# Query names that belong to the gate.
CREDENTIALS = frozenset({"api_key", "access_token", "csrf", "ticket"})
# Empty lists take 24 times their bytes of memory, and 270 ns each.
_MOST_CONTAINERS = 500_000
_INTEGER = re.compile(r"-?[0-9]{1,18}").fullmatch
_AT = re.compile(r"^(?P<fact>.*?)(?: - at `\$(?P<path>.*)`)?$", re.DOTALL)


Decoded = tuple[Params, Mapping[str, Any]]
"""The params, and what the struct does not know but the site lets pass to RE Manager."""

_NONE: Mapping[str, Any] = {}


class Decoder:
    """Decodes one kind of params. Made once a row."""

    def __init__(self, params: type[Params], *, max_nesting: int, forward_unknown: bool) -> None:
        self.type = params
        self.fields = {field.encode_name: field for field in msgspec.structs.fields(params)}
        self._decode = msgspec.json.Decoder(params).decode
        self._max_nesting = max_nesting
        self._forward_unknown = forward_unknown
        hints = get_type_hints(params)
        self._lists = {name for name, hint in hints.items() if _is_list(hint)}
        self._numbers_or_texts = {name for name, hint in hints.items() if {int, str} <= set(get_args(hint))}
        self._empty: Decoded | None = None

    def decode(self, body: bytes, query: str, content_type: str) -> Decoded:
        """The params. Absent, empty, `{}` and `null` bodies are the same; the body wins over the query.

        Raises BadArguments (400), UnsupportedMediaType (415) or UnreadableBody (422).
        """
        if query and (pairs := [pair for pair in parse_urlencoded(query) if pair[0] not in CREDENTIALS]):
            return self._merged(body, pairs, content_type)
        if not body or body in (b"{}", b"null"):
            return self._nothing()
        if body[:1] == b"{":
            return self._from_json(body)
        return self._merged(body, [], content_type)

    def from_values(self, values: dict[str, Any]) -> Decoded:
        """The params from decoded values."""
        try:
            return msgspec.convert(values, self.type), _NONE
        except msgspec.ValidationError as error:
            return self._refuse(error, values)

    def from_texts(self, pairs: list[tuple[str, str]], values: dict[str, Any]) -> Decoded:
        """The params from texts (query or form) that are converted by the struct, and values that win over them."""
        sent: dict[str, list[str]] = {}
        for name, text in pairs:
            sent.setdefault(name, []).append(text)
        merged: dict[str, Any] = {}
        for name, texts in sent.items():
            is_list = len(texts) > 1 or (name in self._lists and not texts[0].startswith("["))
            merged[name] = self._converted(name, texts if is_list else texts[0])
        return self.from_values({**merged, **values})

    def _nothing(self) -> Decoded:
        if self._empty is None:
            self._empty = self.from_values({})
        return self._empty

    def _from_json(self, body: bytes) -> Decoded:
        check_size(body)
        try:
            params = self._decode(body)
        except msgspec.ValidationError as error:
            return self._refuse(error, _json_object(body))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _unreadable(error) from None
        check_nesting(body, self._max_nesting)
        return params, _NONE

    def _merged(self, body: bytes, pairs: list[tuple[str, str]], content_type: str) -> Decoded:
        kind = content_type.partition(";")[0].strip().lower()
        stripped = body.strip()
        if kind == URLENCODED and stripped[:1] not in (b"{", b"["):
            check_charset(content_type)
            return self.from_texts(pairs + parse_urlencoded(body), {})
        if stripped and kind.startswith(("multipart/", "image/", "video/", "audio/", "application/octet")):
            raise UnsupportedMediaType(f"The body must be a JSON object, not '{kind}'")
        if not stripped:
            return self.from_texts(pairs, {}) if pairs else self._nothing()
        values = _json_object(body)
        check_nesting(body, self._max_nesting)
        return self.from_texts(pairs, values) if pairs else self.from_values(values)

    def _converted(self, name: str, text: Any) -> Any:
        field = self.fields.get(name)
        if field is None:
            return text
        if isinstance(text, str) and text[:1] in ("{", "[") and not _is_text(field.type):
            text = _json_value(name, text, self._max_nesting)
        elif name in self._numbers_or_texts and isinstance(text, str) and _INTEGER(text):
            text = int(text)
        try:
            return msgspec.convert(text, field.type, strict=False)
        except msgspec.ValidationError as error:
            raise _bad(error, name) from None

    def _is_optional(self, name: str) -> bool:
        return name in self.fields and not self.fields[name].required

    def _refuse(self, error: msgspec.ValidationError, values: dict[str, Any]) -> Decoded:
        """Say what is wrong, or let unknown fields pass to a newer RE Manager when the site wants it."""
        nulls = {name for name, value in values.items() if value is None and self._is_optional(name)}
        if nulls:  # The official client sends null for what it does not set: the same as not sent.
            return self.from_values({name: value for name, value in values.items() if name not in nulls})
        unknown = sorted(set(values) - set(self.fields))
        if not unknown:
            raise _bad(error) from None
        if self._forward_unknown:
            known = {name: value for name, value in values.items() if name in self.fields}
            return self.from_values(known)[0], {name: values[name] for name in unknown}
        supported = ", ".join(sorted(set(self.fields) - {"user", "user_group"})) or "none"
        raise BadArguments(
            f"{Text.UNSUPPORTED_KEYS}: {names(unknown)}. Supported parameters: {supported}",
            extra={"unknown": unknown},
        )


def check_size(body: bytes) -> None:
    """Refuse JSON of so many lists and objects that decoding it would take seconds. Raises UnreadableBody."""
    if len(body) > _MOST_CONTAINERS and body.count(b"[") + body.count(b"{") > _MOST_CONTAINERS:
        raise UnreadableBody(f"The body has more than {_MOST_CONTAINERS} lists and objects")


def _json_object(body: bytes) -> dict[str, Any]:
    check_size(body)
    try:
        values = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unreadable(error) from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UnreadableBody(f"The body must be a JSON object, not {_kind(values)}")
    return values


def _json_value(name: str, text: str, max_nesting: int) -> Any:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadArguments(f"{name}: not valid JSON: {error}", extra={"field": name}) from None
    check_nesting(text.encode(), max_nesting)
    return value


def _unreadable(error: Exception) -> UnreadableBody:
    if isinstance(error, RecursionError):
        return UnreadableBody("The body is nested too deeply")
    if isinstance(error, UnicodeDecodeError):
        return UnreadableBody("The body is not UTF-8")
    return UnreadableBody(f"The body is not valid JSON: {error}")


def _bad(error: msgspec.ValidationError, name: str = "") -> BadArguments:
    match = _AT.match(str(error))
    fact = match["fact"] if match else str(error)
    path = (name + ((match["path"] or "") if match else "")).lstrip(".")
    if missing := re.match(r"Object missing required field `(.+)`", fact):
        path, fact = f"{path}.{missing[1]}".lstrip("."), "this field is required"
        said = Text.MISSING_TIME if path == "time" else f"{Text.MISSING_KEYS}: {names([path])}"
        return BadArguments(f"{said}. {path}: {fact}", extra={"field": path})
    return BadArguments(f"{path}: {fact}" if path else fact, extra={"field": path} if path else None)


def _kind(value: Any) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "something else")


def _is_list(hint: Any) -> bool:
    """Whether a field takes a list and nothing simpler, so that each repetition of it is one member."""
    parts = [part for part in getattr(hint, "__args__", ()) if part is not UnsetType]
    return getattr(hint, "__origin__", None) in (list, tuple) or (len(parts) == 1 and _is_list(parts[0]))


def _is_text(hint: Any) -> bool:
    return hint is str or str in getattr(hint, "__args__", ())
