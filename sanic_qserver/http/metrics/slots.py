"""Memory that the workers of a server share: a slot each, of which one process at a time is the holder.

There are more slots than workers. Each has two halves, written in turn with a check sum: a reader, or a kill half-way
through a write, finds a whole one. Beside the memory each slot has a pair of sockets, over which its holder is asked.
"""

import contextlib
import fcntl
import itertools
import os
import socket
import struct
import tempfile
import zlib
from multiprocessing import reduction
from typing import Any, cast

_HALF = 1 << 30  # Bytes from one half to the next. What is not written to takes no memory.
_HEAD = struct.Struct("<QII")  # Number of the write, length, check sum.
_PER_WORKER = 4  # Slots: while all are replaced there are twice as many workers, and slow ones end late.


class Slots:
    """The memory and the sockets: made by the process above the workers, handed to each of them as it starts."""

    def __init__(self, file: int, inboxes: list[socket.socket], outboxes: list[socket.socket]) -> None:
        self.inboxes, self.outboxes = inboxes, outboxes
        self._file = file

    @classmethod
    def make(cls, workers_count: int) -> "Slots":
        """Slots for so many workers."""
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(workers_count * _PER_WORKER)]
        for one in itertools.chain(*pairs):
            one.settimeout(0)
        return cls(_make_memory(), [pair[0] for pair in pairs], [pair[1] for pair in pairs])

    def __reduce__(self) -> tuple[Any, ...]:
        return _attach, (reduction.DupFd(self._file), self.inboxes, self.outboxes)

    def __len__(self) -> int:
        return len(self.inboxes)

    def take(self) -> int | None:
        """The number of a slot that was free and is now this process's own; None when all are held."""
        return next((number for number in range(len(self)) if self._lock(number, fcntl.LOCK_EX)), None)

    def is_held(self, number: int) -> bool:
        """Whether another process holds the slot. Not for one's own."""
        if not self._lock(number, fcntl.LOCK_SH):  # Shared: who looks is not taken for a holder.
            return True
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, number)
        return False

    def _lock(self, number: int, kind: int) -> bool:
        # Locks of this kind are a process's: they end with it, however it ends.
        with contextlib.suppress(OSError):
            fcntl.lockf(self._file, kind | fcntl.LOCK_NB, 1, number)
            return True
        return False

    def write(self, number: int, turn: int, content: bytes) -> None:
        """Write the content of the slot. `turn` grows with each write."""
        head = _HEAD.pack(turn, len(content), zlib.crc32(content))
        os.pwrite(self._file, head + content, (2 * number + turn % 2) * _HALF)

    def read(self, number: int) -> tuple[int, bytes]:
        """The newest turn of the slot and its content; 0 and nothing when it was never written."""
        return max((self._read_half(2 * number + half) for half in (0, 1)), key=lambda found: found[0])

    def _read_half(self, half: int) -> tuple[int, bytes]:
        head = os.pread(self._file, _HEAD.size, half * _HALF)
        if len(head) < _HEAD.size:
            return 0, b""
        turn, length, check = _HEAD.unpack(head)
        content = os.pread(self._file, length, half * _HALF + _HEAD.size)
        return (turn, content) if zlib.crc32(content) == check else (0, b"")


def _make_memory() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("sanic-qserver-metrics", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _attach(file: Any, inboxes: list[socket.socket], outboxes: list[socket.socket]) -> Slots:
    for one in (*inboxes, *outboxes):
        one.settimeout(0)
    return Slots(cast("int", file.detach()), inboxes, outboxes)
