"""The line in front of RE Manager: who goes next.

The rules:
1. Calls of one lane (one principal, reads or writes) keep their order.
2. RE Manager is serial: a read that is sent behind a write waits for it, and so does whoever comes after the sending
   and may not join. So reads gather while a short write is under way and go first when it is answered; and nothing
   else goes while they wait. After `at_once` reads a write has its turn. Within each the principals take turns.
3. At most `at_once` writes are under way; one, while somebody reads.
4. Adds with the same mark that stand next to each other in a lane go as one batch, at most `max_batch`, and at
   most `CROWDED_BATCH` while others wait or read: a batch holds everybody up.
5. While a batch is under way nothing else of its lane goes: it may have to be sent again without its bad items.
   While a single add is under way only adds wait, and thereby gather; adds are never delayed to form batches otherwise.
6. When there is no room, the principal with most calls waiting gives up its newest one: a flood displaces itself.
"""

from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic

from sanic_qserver.manager.client.call import Entry
from sanic_qserver.manager.client.methods import SLOW

CROWDED_BATCH = 6  # Measured: RE Manager takes some 2.5 ms a call and 1.6 ms an item. 64 in one are 25 % faster.
READERS_S = 1.0  # Somebody who polls is there between two reads as well.

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
    def newest(self) -> Entry | None:
        """The call that came last, of those that nobody else shares."""
        wanted = (entry for entry in reversed(self.entries) if not entry.is_dead and not entry.is_shared)
        return next(wanted, None)

    @property
    def is_idle(self) -> bool:
        return not self.entries and self.add is None and self.batch is None


class FairQueue:
    """Implements `Waiting`. `fold` makes one batch of several adds."""

    def __init__(self, fold: Fold, *, at_once: int, max_batch: int, clock: Callable[[], float] = monotonic) -> None:
        self._fold = fold
        self._at_once = at_once
        self._max_batch = max_batch
        self._clock = clock
        # Insertion order is the order of turns: who was served goes to the end.
        self._reads: dict[str, _Lane] = {}
        self._writes: dict[str, _Lane] = {}
        self._under_way: set[Entry] = set()  # Writes.
        self._count = 0
        self._counts: dict[str, int] = {}
        self._reads_count = 0
        self._reads_in_turn = 0
        self._read_at = -READERS_S

    def __len__(self) -> int:
        return self._count

    @property
    def has_readers(self) -> bool:
        """Whether somebody reads, now or within the last `READERS_S`."""
        return self._reads_count > 0 or self._clock() - self._read_at < READERS_S

    def append(self, entry: Entry) -> None:
        """Put a call at the end of its lane."""
        self._lane(entry).entries.append(entry)
        self._change_count(entry, 1)

    def appendleft(self, entry: Entry) -> None:
        """Put a call back at the front of its lane."""
        self._lane(entry).entries.appendleft(entry)
        self._change_count(entry, 1)

    def displace(self, lane: str) -> Entry | None:
        """Take out the newest call of whoever has most waiting; None when nobody has more than this lane.

        Rather one whose answer nobody else shares: they would be refused with it.
        """
        name = max(self._counts, key=self._counts.__getitem__, default="")
        if self._counts.get(name, 0) <= self._counts.get(lane, 0) + 1:
            return None
        waiting = [lanes[name] for lanes in (self._reads, self._writes) if name in lanes]
        found = next((call for one in waiting if (call := one.newest)), None)
        found = found or next(one.entries[-1] for one in waiting if one.entries)
        self.drop(found)
        return found

    def drop(self, entry: Entry) -> None:
        """A waiting call is no longer wanted."""
        if not entry.is_dead:
            entry.is_dead = True
            self._change_count(entry, -1)
            self._clear_away(entry)

    def _clear_away(self, entry: Entry) -> None:
        """Forget dropped calls at the ends of a lane: without a connection nobody takes them out."""
        lanes = self._reads if entry.is_read else self._writes
        lane = lanes.get(entry.lane)
        if lane is not None:
            while lane.entries and lane.entries[0].is_dead:
                lane.entries.popleft()
            while lane.entries and lane.entries[-1].is_dead:
                lane.entries.pop()
            if lane.is_idle:
                del lanes[entry.lane]

    def popleft(self) -> Entry | None:
        """The call, or batch, whose turn it is."""
        if not self._count:
            return None
        if not self._reads_count:
            return self._take_write()
        if any(not write.is_settled and write.method not in SLOW for write in self._under_way):
            return None
        if self._reads_in_turn >= self._at_once and (write := self._take_write()) is not None:
            return write
        return self._take_read() or self._take_write()

    def left(self, entry: Entry) -> None:
        """A call is no longer under way."""
        if entry.is_read:
            return
        self._under_way.discard(entry)
        lane = self._writes.get(entry.lane)
        if lane is None:
            return
        if lane.batch is entry:
            lane.batch = None
        elif lane.add is entry:
            lane.add = None
        if lane.is_idle:
            del self._writes[entry.lane]

    def _change_count(self, entry: Entry, by: int) -> None:
        self._count += by
        count = self._counts.get(entry.lane, 0) + by
        if count:
            self._counts[entry.lane] = count
        else:
            del self._counts[entry.lane]
        if entry.is_read:
            self._reads_count += by

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
                self._change_count(found, -1)
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
            self._reads_in_turn += 1
            self._read_at = self._clock()
        return entry

    def _take_write(self) -> Entry | None:
        is_read = self.has_readers
        if len(self._under_way) >= self._at_once or (is_read and not all(one.is_settled for one in self._under_way)):
            return None
        entry = self._take(self._writes)
        if entry is None:
            return None
        self._reads_in_turn = 0
        lane = self._writes[entry.lane]
        if entry.fold is not None:
            is_crowded = is_read or self._count > len(lane.entries)
            entry = self._gathered(entry, lane, min(CROWDED_BATCH, self._max_batch) if is_crowded else self._max_batch)
        elif lane.is_idle:
            del self._writes[entry.lane]
        self._under_way.add(entry)
        return entry

    def _gathered(self, first: Entry, lane: _Lane, most: int) -> Entry:
        """The first add of a lane, together with its neighbours."""
        members = [first]
        while len(members) < most and lane.entries and (entry := lane.entries[0]).fold == first.fold:
            lane.entries.popleft()
            if not entry.is_dead:
                self._change_count(entry, -1)
                if entry.is_settled:  # Its caller gave up.
                    entry.is_dead = True
                    entry.end_timer()
                else:
                    members.append(entry)
        if len(members) == 1:
            lane.add = first
            return first
        lane.batch = self._fold(members)
        return lane.batch
