"""The queue in front of RE Manager: which call is sent next.

The rules:
1. Calls with the same fairness key (one principal) keep their order, reads and writes separately; one that was refused
   before and is tried again goes before those that were not, the first refused first.
2. RE Manager is serial: a read sent behind a write waits for it, and callers who come later can no longer share that
   read. So reads wait while a short write is in flight, are coalesced meanwhile, and go first when it is answered.
   After `at_once` reads a write has its turn. Within reads and writes the fairness keys take turns.
3. At most `at_once` writes are in flight; one, while somebody reads.
4. Neighbouring adds with the same batch key are sent as one batch of at most `max_batch`, and of at most
   `CROWDED_BATCH` while others wait or read: a batch delays everybody.
5. While a batch is in flight nothing else of its caller is sent: it may have to be sent again without its bad items.
   While a single add is in flight only further adds wait, and are batched. Adds are never delayed to form batches.
6. When the queue is full, the caller with most calls in it gives up its newest one: a flood displaces itself.
"""

from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic

from sanic_qserver.manager.client.call import QueuedCall
from sanic_qserver.manager.client.methods import SLOW

CROWDED_BATCH = 6  # Measured: RE Manager takes some 2.5 ms a call and 1.6 ms an item. 64 in one are 25 % faster.
READERS_S = 1.0  # A caller that polls is still a reader between two reads.

MakeBatch = Callable[[Sequence[QueuedCall]], QueuedCall]


class _CallerQueue:
    """The queued calls of one caller. `batch` and `add` are in flight."""

    __slots__ = ("add", "batch", "calls")

    def __init__(self) -> None:
        self.calls: deque[QueuedCall] = deque()
        self.add: QueuedCall | None = None
        self.batch: QueuedCall | None = None

    @property
    def head(self) -> QueuedCall | None:
        """The first call that is still wanted, if it may be sent."""
        while self.calls and self.calls[0].is_dead:
            self.calls.popleft()
        if self.batch is not None or not self.calls:
            return None
        first = self.calls[0]
        return None if self.add is not None and first.batch_key is not None else first

    @property
    def newest(self) -> QueuedCall | None:
        """The newest call whose reply nobody else shares."""
        wanted = (call for call in reversed(self.calls) if not call.is_dead and not call.is_shared)
        return next(wanted, None)

    @property
    def is_idle(self) -> bool:
        return not self.calls and self.add is None and self.batch is None


def _has_waited(call: QueuedCall, since: float) -> bool:
    """Whether a call was refused for the first time before that."""
    return call.sending is not None and call.sending.since is not None and call.sending.since <= since


class FairScheduler:
    """Implements `CallQueue`. `make_batch` makes one call of several adds."""

    def __init__(
        self, make_batch: MakeBatch, *, at_once: int, max_batch: int, clock: Callable[[], float] = monotonic
    ) -> None:
        self._make_batch = make_batch
        self._at_once = at_once
        self._max_batch = max_batch
        self._clock = clock
        # Insertion order is the order of turns: a caller that was served goes to the end.
        self._reads: dict[str, _CallerQueue] = {}
        self._writes: dict[str, _CallerQueue] = {}
        self._in_flight: set[QueuedCall] = set()  # Writes.
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

    def append(self, call: QueuedCall) -> None:
        """Queue a call behind the others of its caller."""
        calls = self._get_queue(call).calls
        if call.sending is None or call.sending.since is None:
            calls.append(call)
        else:
            since = call.sending.since
            at = next((at for at, other in enumerate(calls) if not _has_waited(other, since)), len(calls))
            calls.insert(at, call)
        self._change_count(call, 1)

    def appendleft(self, call: QueuedCall) -> None:
        """Put a call back in front of the others of its caller."""
        self._get_queue(call).calls.appendleft(call)
        self._change_count(call, 1)

    def displace(self, fairness_key: str) -> QueuedCall | None:
        """Remove the newest call of the caller with most calls queued; None when no other caller has more.

        Preferably one whose reply nobody else shares: they would be refused with it.
        """
        name = max(self._counts, key=self._counts.__getitem__, default="")
        if self._counts.get(name, 0) <= self._counts.get(fairness_key, 0) + 1:
            return None
        waiting = [queues[name] for queues in (self._reads, self._writes) if name in queues]
        found = next((call for one in waiting if (call := one.newest)), None)
        found = found or next(one.calls[-1] for one in waiting if one.calls)
        self.drop(found)
        return found

    def displace_newer(self, fairness_key: str) -> QueuedCall | None:
        """Remove the caller's newest write that was not refused before; None when all were."""
        writes = self._writes.get(fairness_key)
        newest = None if writes is None else writes.newest
        if newest is None or (newest.sending is not None and newest.sending.since is not None):
            return None
        self.drop(newest)
        return newest

    def drop(self, call: QueuedCall) -> None:
        """Remove a call, if it is queued."""
        if call.is_queued:
            call.is_dead = True
            self._change_count(call, -1)
            self._clear_away(call)

    def _clear_away(self, call: QueuedCall) -> None:
        """Remove dropped calls at both ends of a queue: without a connection nothing else would."""
        queues = self._reads if call.is_read else self._writes
        queue = queues.get(call.fairness_key)
        if queue is not None:
            while queue.calls and queue.calls[0].is_dead:
                queue.calls.popleft()
            while queue.calls and queue.calls[-1].is_dead:
                queue.calls.pop()
            if queue.is_idle:
                del queues[call.fairness_key]

    def popleft(self) -> QueuedCall | None:
        """The next call, or batch, to send."""
        if not self._count:
            return None
        if not self._reads_count:
            return self._take_write()
        if any(not write.is_settled and write.method not in SLOW for write in self._in_flight):
            return None
        if self._reads_in_turn >= self._at_once and (write := self._take_write()) is not None:
            return write
        return self._take_read() or self._take_write()

    def left(self, call: QueuedCall) -> None:
        """A call is no longer in flight."""
        if call.is_read:
            return
        self._in_flight.discard(call)
        queue = self._writes.get(call.fairness_key)
        if queue is None:
            return
        if queue.batch is call:
            queue.batch = None
        elif queue.add is call:
            queue.add = None
        if queue.is_idle:
            del self._writes[call.fairness_key]

    def _change_count(self, call: QueuedCall, by: int) -> None:
        call.is_queued = by > 0
        self._count += by
        count = self._counts.get(call.fairness_key, 0) + by
        if count:
            self._counts[call.fairness_key] = count
        else:
            del self._counts[call.fairness_key]
        if call.is_read:
            self._reads_count += by

    def _get_queue(self, call: QueuedCall) -> _CallerQueue:
        queues = self._reads if call.is_read else self._writes
        queue = queues.get(call.fairness_key)
        if queue is None:
            queue = queues[call.fairness_key] = _CallerQueue()
        return queue

    def _take(self, queues: dict[str, _CallerQueue]) -> QueuedCall | None:
        left_over = ""
        found: QueuedCall | None = None
        for name, queue in queues.items():
            found = queue.head
            if found is not None:
                queue.calls.popleft()
                self._change_count(found, -1)
                del queues[name]
                if not queue.is_idle or not found.is_read:
                    queues[name] = queue
                break
            if queue.is_idle:
                left_over = name  # All its calls were dropped while they waited.
        if left_over and queues[left_over].is_idle:
            del queues[left_over]
        return found

    def _take_read(self) -> QueuedCall | None:
        call = self._take(self._reads)
        if call is not None:
            self._reads_in_turn += 1
            self._read_at = self._clock()
        return call

    def _take_write(self) -> QueuedCall | None:
        is_read = self.has_readers
        if len(self._in_flight) >= self._at_once or (is_read and not all(one.is_settled for one in self._in_flight)):
            return None
        call = self._take(self._writes)
        if call is None:
            return None
        self._reads_in_turn = 0
        queue = self._writes[call.fairness_key]
        if call.batch_key is not None:
            is_crowded = is_read or self._count > len(queue.calls)
            call = self._batch_neighbours(
                call, queue, min(CROWDED_BATCH, self._max_batch) if is_crowded else self._max_batch
            )
        elif queue.is_idle:
            del self._writes[call.fairness_key]
        self._in_flight.add(call)
        return call

    def _batch_neighbours(self, first: QueuedCall, queue: _CallerQueue, most: int) -> QueuedCall:
        """The first add of a queue, batched with its neighbours."""
        members = [first]
        while len(members) < most and queue.calls and (call := queue.calls[0]).batch_key == first.batch_key:
            queue.calls.popleft()
            if not call.is_dead:
                self._change_count(call, -1)
                if call.is_settled:  # Its caller gave up.
                    call.is_dead = True
                    call.end_timer()
                else:
                    members.append(call)
        if len(members) == 1:
            queue.add = first
            return first
        queue.batch = self._make_batch(members)
        return queue.batch
