"""Decoding what RE Manager sends. Its encoder may write NaN and Infinity, which JSON does not know: they become null.

Half of a surrogate pair, which is no character, becomes "?".

Source: RE Manager 0.0.25 encodes with Python's `json`, which allows them; a program that speaks 0MQ can put them into
an item. Replies that are passed on undecoded keep them.
"""

import json
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from sanic_qserver.errors import Overloaded

T = TypeVar("T")


def decode_as(decode: Callable[[Any], T], reply: "bytes | msgspec.Raw") -> T:
    """What a decoder of msgspec makes of a reply, or a part of one. Raises msgspec.DecodeError when it is not JSON."""
    try:
        return decode(reply)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError as error:
        try:
            return decode(_mend(bytes(reply)))
        except ValueError:
            raise error from None


def _mend(reply: bytes) -> bytes:
    text = json.dumps(json.loads(reply), ensure_ascii=False).encode("utf-8", "replace")
    return msgspec.json.encode(json.loads(text))


def refuse_unread(is_read: bool, msg: str) -> None:  # what a reply says
    """Raise Overloaded for a queue or history that RE Manager could not read: its reply holds none, whatever is there.

    Source: RE Manager 0.0.25, `_queue_get_handler` and `_history_get_handler`, when its Redis fails.
    """
    if not is_read:
        raise Overloaded(f"RE Manager cannot read its queue: {msg}", headers={"Retry-After": "2"})


def decode_reply(reply: "bytes | msgspec.Raw") -> dict[str, Any]:
    """A reply as a dictionary. Raises msgspec.DecodeError."""
    decoded: dict[str, Any] = decode_as(msgspec.json.decode, reply)
    return decoded
