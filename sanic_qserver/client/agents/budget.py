"""What an agent may use up in a day: items, and minutes of running plans. A file keeps it across restarts.

An item is counted before it is sent. It is given back only when it is sure that nothing was added.
"""

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sanic_qserver.client.failures import Refused
from sanic_qserver.client.profiles import make_private_folder, write_private

FindSeconds = Callable[[str], float | None]
"""How long an item has run so far, by its uid; None when that cannot be known."""


class Budget:
    """Two limits a day. `today` gives the name of the day, so that tests can let one pass."""

    def __init__(self, file: Path, max_items: int, max_minutes: float, today: Callable[[], str]) -> None:
        self._file, self._today = file, today
        self.max_items, self.max_minutes = max_items, max_minutes

    def reserve(self, count: int, find_seconds: FindSeconds) -> None:
        """Count items before they are sent. Raises Refused when the budget of the day does not have them."""
        with self._opened() as kept:
            self._measure(kept, find_seconds)
            minutes = sum(kept["seconds"].values()) / 60
            if minutes >= self.max_minutes:
                text = f"Today's budget of {self.max_minutes:g} minutes of plan time is used up ({minutes:.1f})"
                raise Refused(text, "Stop here, and tell the people you work for.")
            used = self._count(kept)
            if used + count > self.max_items:
                text = f"Today's budget of {self.max_items} items does not have {count} more: {used} are used"
                raise Refused(text, "Send fewer, or stop here and tell the people you work for.")
            kept["reserved"] += count

    def settle(self, count: int, uids: list[str]) -> None:
        """What became of a reservation: these items. An item that was counted before is counted once."""
        with self._opened() as kept:
            kept["reserved"] -= count
            for uid in uids:
                kept["seconds"].setdefault(uid, 0.0)

    def tell(self, find_seconds: FindSeconds) -> dict[str, Any]:
        """What is used and what is left."""
        with self._opened() as kept:
            self._measure(kept, find_seconds)
            minutes = round(sum(kept["seconds"].values()) / 60, 2)
            used = self._count(kept)
        return {
            "items_used": used,
            "items_left": max(0, self.max_items - used),
            "minutes_used": minutes,
            "minutes_left": max(0.0, round(self.max_minutes - minutes, 2)),
        }

    def _count(self, kept: dict[str, Any]) -> int:
        return int(kept["reserved"]) + len(kept["seconds"])

    def _measure(self, kept: dict[str, Any], find_seconds: FindSeconds) -> None:
        for uid, known in kept["seconds"].items():
            kept["seconds"][uid] = max(known, find_seconds(uid) or 0.0)

    @contextmanager
    def _opened(self) -> Iterator[dict[str, Any]]:
        """The day's account, alone; written when the block ends."""
        make_private_folder(self._file.parent)
        with self._file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            kept = self._load()
            try:
                yield kept
            finally:
                write_private(self._file, json.dumps(kept))

    def _load(self) -> dict[str, Any]:
        try:
            kept: dict[str, Any] = json.loads(self._file.read_text("utf-8"))
        except FileNotFoundError:
            kept = {}
        except (OSError, ValueError):
            raise Refused(f"{self._file} cannot be read: what is used up is not known", "Remove it by hand.") from None
        new: dict[str, Any] = {"day": self._today(), "reserved": 0, "seconds": {}}
        return kept if kept.get("day") == new["day"] else new
