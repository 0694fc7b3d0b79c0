"""The line in front of RE Manager: who goes next.

The rules:
1. Calls of one lane (one principal, reads or writes) keep their order.
2. Reads and writes take turns, and within each the principals take turns: nobody starves.
3. At most `writes_at_once` writes are under way, so that a read never waits behind a window full of writes.
4. Adds with the same mark that stand next to each other in a lane go as one batch, at most `max_batch`, and at
   most `CROWDED_BATCH` while others wait or read: RE Manager is serial, and a batch holds everybody up.
5. While a batch is under way nothing else of its lane goes: it may have to be sent again without its bad items.
   While a single add is under way only adds wait, and thereby gather; nobody waits for company otherwise.
"""

from collections import deque
from collections.abc import Callable, Sequence

from sanic_qserver.manager.entries import Entry

CROWDED_BATCH = 16  # Measured: RE Manager's rate hardly grows beyond batches of 10.

Fold = Callable[[Sequence[Entry]], Entry]


class _Lane:
    """The calls of one principal. `batch` and `add` are what is under way."""

    __slots__ = ("add", "batch", "entries")

    def __init__(self) -> None:
        self.entries: deque[Entry] = deque()
        self.add: Entry | None = None
        self.batch: Entry | None = None

    @property
    def head(self) -> Entry | None:
        """The first call that is still wanted, if it may go."""
        while self.entries and self.entries[0].is_dead:
            self.entries.popleft()
        if self.batch is not None or not self.entries:
            return None
        first = self.entries[0]
        return None if self.add is not None and first.fold is not None else first

    @property
    def is_idle(self) -> bool:
        return not self.entries and self.add is None and self.batch is None


class FairQueue:
    """Implements `Waiting`. `fold` makes one batch of several adds."""

    def __init__(self, fold: Fold, *, writes_at_once: int, max_batch: int) -> None:
        self._fold = fold
        self._writes_at_once = writes_at_once
        self._max_batch = max_batch
        # Insertion order is the order of turns: who was served goes to the end.
        self._reads: dict[str, _Lane] = {}
        self._writes: dict[str, _Lane] = {}
        self._writes_under_way = 0
        self._count = 0
        self._is_reads_turn = True
        self._was_read = False  # Since the last batch.

    def __len__(self) -> int:
        return self._count

    def append(self, entry: Entry) -> None:
        """Put a call at the end of its lane."""
        self._lane(entry).entries.append(entry)
        self._count += 1

    def appendleft(self, entry: Entry) -> None:
        """Put a call back at the front of its lane."""
        self._lane(entry).entries.appendleft(entry)
        self._count += 1

    def drop(self, entry: Entry) -> None:
        """A waiting call is no longer wanted."""
        if not entry.is_dead:
            entry.is_dead = True
            self._count -= 1

    def popleft(self) -> Entry | None:
        """The call, or batch, whose turn it is."""
        if not self._count:
            return None
        for _ in range(2):
            is_reads_turn, self._is_reads_turn = self._is_reads_turn, not self._is_reads_turn
            entry = self._take_read() if is_reads_turn else self._take_write()
            if entry is not None:
                return entry
        return None

    def left(self, entry: Entry) -> None:
        """A call is no longer under way."""
        if entry.is_read:
            return
        self._writes_under_way -= 1
        lane = self._writes.get(entry.lane)
        if lane is None:
            return
        if lane.batch is entry:
            lane.batch = None
        elif lane.add is entry:
            lane.add = None
        if lane.is_idle:
            del self._writes[entry.lane]

    def _lane(self, entry: Entry) -> _Lane:
        lanes = self._reads if entry.is_read else self._writes
        lane = lanes.get(entry.lane)
        if lane is None:
            lane = lanes[entry.lane] = _Lane()
        return lane

    def _take(self, lanes: dict[str, _Lane]) -> Entry | None:
        left_over = ""
        found: Entry | None = None
        for name, lane in lanes.items():
            found = lane.head
            if found is not None:
                lane.entries.popleft()
                self._count -= 1
                del lanes[name]
                if not lane.is_idle or not found.is_read:
                    lanes[name] = lane
                break
            if lane.is_idle:
                left_over = name  # All its calls were dropped while they waited.
        if left_over and lanes[left_over].is_idle:
            del lanes[left_over]
        return found

    def _take_read(self) -> Entry | None:
        entry = self._take(self._reads)
        if entry is not None:
            self._was_read = True
        return entry

    def _take_write(self) -> Entry | None:
        if self._writes_under_way >= self._writes_at_once:
            return None
        entry = self._take(self._writes)
        if entry is None:
            return None
        self._writes_under_way += 1
        lane = self._writes[entry.lane]
        if entry.fold is not None:
            entry = self._gathered(entry, lane)
        elif lane.is_idle:
            del self._writes[entry.lane]
        return entry

    def _gathered(self, first: Entry, lane: _Lane) -> Entry:
        """The first add of a lane, together with its neighbours."""
        is_crowded = self._was_read or self._count > len(lane.entries)
        most = min(CROWDED_BATCH, self._max_batch) if is_crowded else self._max_batch
        members = [first]
        while len(members) < most and lane.entries and (entry := lane.entries[0]).fold == first.fold:
            lane.entries.popleft()
            if not entry.is_dead:
                self._count -= 1
                if entry.is_settled:  # Its caller gave up.
                    entry.is_dead = True
                    entry.end_timer()
                else:
                    members.append(entry)
        if len(members) == 1:
            lane.add = first
            return first
        self._was_read = False
        lane.batch = self._fold(members)
        return lane.batch
