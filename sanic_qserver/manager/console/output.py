"""The console output of RE Manager: the last messages, addressable by uid, and the text they make.

A uid is derived from the published message, not random: all workers and replicas give the same one.
"""

from collections import deque
from hashlib import blake2b

import msgspec

from sanic_qserver.config.settings import ConsoleConfig
from sanic_qserver.manager.console.terminal import Terminal
from sanic_qserver.manager.publications import CONSOLE


class Published(msgspec.Struct):
    """One published message: POSIX time in seconds, and text."""

    time: float
    msg: str


decode_message = msgspec.json.Decoder(Published).decode
_EMPTY_UID = blake2b(b"", digest_size=16).hexdigest()


class Console:
    """Keeps what was published. `hear` is a listener of Publications."""

    def __init__(self, config: ConsoleConfig) -> None:
        self.uid = _EMPTY_UID
        self._messages: deque[bytes] = deque(maxlen=config.max_messages)
        self._uids: deque[str] = deque(maxlen=config.max_messages)
        self._position: dict[str, int] = {}  # uid -> number of its message, counted from the first ever heard
        self._heard = 0
        self._terminal = Terminal(config.max_lines)
        self._not_rendered: list[str] = []

    def hear(self, topic: str, payload: bytes) -> None:
        """Take one published message; what is not console output is left alone."""
        if topic != CONSOLE:
            return
        try:
            message = decode_message(payload)
        except msgspec.MsgspecError:
            return
        self._forget_oldest()
        previous = self._messages[-1] if self._messages else b""
        # A message equal to the one before it would get the same uid, and a reader would lose it.
        salt = self.uid.encode() if payload == previous else b""
        self.uid = blake2b(salt + payload, digest_size=16).hexdigest()
        self._messages.append(payload)
        self._uids.append(self.uid)
        self._position[self.uid] = self._heard
        self._heard += 1
        self._not_rendered.append(message.msg)
        if len(self._not_rendered) >= 1000:
            self._render()

    def _forget_oldest(self) -> None:
        if len(self._uids) == self._uids.maxlen:
            oldest = self._uids[0]
            if self._position.get(oldest) == self._heard - len(self._uids):
                del self._position[oldest]

    def _render(self) -> None:
        # Joined first: a cursor movement is published apart from the text before it, never cut in two.
        self._terminal.write("".join(self._not_rendered))
        self._not_rendered.clear()

    def text(self, line_count: int) -> str:
        """The last lines of the output, as a terminal would show them."""
        self._render()
        return self._terminal.text(line_count)

    def messages_after(self, uid: str) -> list[bytes]:
        """The kept messages, each as JSON, that came after the one with this uid.

        `"ALL"` gives all that are kept; a uid that is not known (any more) gives none.
        """
        if uid in ("ALL", _EMPTY_UID):  # Who asked before the first message must not miss it.
            return list(self._messages)
        position = self._position.get(uid)
        if position is None:
            return []
        first_kept = self._heard - len(self._messages)
        return [self._messages[i] for i in range(position + 1 - first_kept, len(self._messages))]
