"""A kept reply: its bytes, the uid they are valid under, and what was made from them once."""

from collections.abc import Callable, Hashable
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")


class Body:
    """One reply of RE Manager. Without a uid it is good for this once only."""

    __slots__ = ("_made", "json", "tag", "uid")

    def __init__(self, json: bytes, uid: str = "", key: tuple[str, bytes] = ("", b"")) -> None:
        self.json = json
        self.uid = uid
        # The same uid stands for different bytes under other params: the tag must tell them apart.
        self.tag = f"{uid}.{blake2b(repr(key).encode(), digest_size=4).hexdigest()}" if uid else ""
        self._made: dict[Hashable, object] = {}

    def made(self, what: Hashable, make: Callable[[], T]) -> T:
        """Something derived from the bytes, made at the first question and kept with them."""
        if what not in self._made:
            self._made[what] = make()
        return self._made[what]  # type: ignore[return-value]  # each `what` has one maker
