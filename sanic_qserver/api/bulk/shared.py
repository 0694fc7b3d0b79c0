"""Bulk submissions in the Redis that replicas share: any of them goes on with a stream, also when another was killed.

The rules:
1. A stream has one feeder, the connection that began or resumed it last. Each step in Redis checks that.
2. Before a batch goes to RE Manager it is written down, with a lease that is renewed until it is decided, and what each
   of its lines is told should nobody be heard of it any more: that its outcome is unknown. It is never sent again.
3. Who resumes a stream waits for the batch that is under way, at whichever replica, or for the end of its lease. What a
   replica that was only stopped learns of its batch after that is dropped: the lines were told to be unknown. It sends
   nothing under a lease that may have ended.
4. A stream is forgotten an hour after its last use, or when its principal begins too many others. All together have
   64 of 2 MB at most.

Without Redis nothing begins, is resumed or sent (503; a stream under way waits for it for some minutes).
"""

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import blake2b
from typing import Any

from sanic_qserver.api.bulk.state import (
    KEEP_S,
    MOST_OF_ONE,
    MOST_RESULT_BYTES,
    MOST_STREAMS,
    Bulk,
    Bulks,
    Doubt,
    MemoryBulks,
    StreamTaken,
    not_found,
)
from sanic_qserver.errors import GatewayError, Overloaded
from sanic_qserver.manager.client.call import sending_while
from sanic_qserver.shared_state.redis import SharedRedis, SharedStateAway
from sanic_qserver.shared_state.renewal import LEASE_MS, Renewal, read_clock

_DIGEST_BYTES = 8
_KEEP_MS = int(KEEP_S * 1000)
_LOOK_S = 0.05
_LONGEST_WAIT_S = 120.0  # For a batch that is under way at another replica.
_TELL_AGAIN_S = 0.5
_TELL_FOR_S = 30.0

# KEYS: the stream, all streams, how many each principal has.
# ARGV: owner, token, keep_ms, most of one, most, prefix of streams, prefix of the streams of one, the principal.
# A principal with their share gives up one of their own; when there are too many in all, whoever has most does.
_BEGIN = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local over = now - ARGV[3] * 1000
local function count(who)
  redis.call('ZREMRANGEBYSCORE', ARGV[7] .. who, '-inf', over)
  local number = redis.call('ZCARD', ARGV[7] .. who)
  if number > 0 then redis.call('ZADD', KEYS[3], number, who) else redis.call('ZREM', KEYS[3], who) end
  return number
end
local function give_up(who)
  local given
  for _, token in ipairs(redis.call('ZRANGE', ARGV[7] .. who, 0, -1)) do
    given = given or token
    if (redis.call('HGET', ARGV[6] .. token, 'decided') or '0') == '0' then given = token break end
  end
  for _, part in ipairs({'', ':results', ':doubted'}) do redis.call('DEL', ARGV[6] .. given .. part) end
  redis.call('ZREM', ARGV[7] .. who, given)
  redis.call('ZREM', KEYS[2], given)
  count(who)
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', over)
while count(ARGV[8]) >= tonumber(ARGV[4]) do give_up(ARGV[8]) end
while redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[5]) do
  local most = redis.call('ZREVRANGE', KEYS[3], 0, 0)[1]
  if not most then break end
  if count(most) > 0 then give_up(most) end
end
redis.call('ZADD', KEYS[2], now, ARGV[2])
redis.call('ZADD', ARGV[7] .. ARGV[8], now, ARGV[2])
count(ARGV[8])
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'feeder', 1, 'decided', 0, 'added', 0, 'bytes', 0)
for _, key in ipairs({KEYS[1], KEYS[2], KEYS[3], ARGV[7] .. ARGV[8]}) do redis.call('PEXPIRE', key, ARGV[3]) end
"""
# KEYS: the stream. ARGV: owner.
_TAKE = """
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return false end
return redis.call('HINCRBY', KEYS[1], 'feeder', 1)
"""
# KEYS: the stream, its results, its lease, what is in doubt. ARGV: feeder.
# Gives 0: not the feeder; 1: wait; or decided, added, results.
# What is in doubt, and nobody answers for, becomes the result of its lines.
_LOAD = """
if redis.call('HGET', KEYS[1], 'feeder') ~= ARGV[1] then return 0 end
local doubt = redis.call('HGET', KEYS[1], 'doubt')
if doubt then
  if redis.call('EXISTS', KEYS[3]) == 1 then return 1 end
  for _, entry in ipairs(redis.call('LRANGE', KEYS[4], 0, -1)) do
    redis.call('RPUSH', KEYS[2], entry)
    redis.call('HINCRBY', KEYS[1], 'decided', 1)
    redis.call('HINCRBY', KEYS[1], 'bytes', #entry)
  end
  redis.call('HDEL', KEYS[1], 'doubt')
  redis.call('DEL', KEYS[4])
end
local found = redis.call('HMGET', KEYS[1], 'decided', 'added')
return {found[1], found[2], redis.call('LRANGE', KEYS[2], 0, -1)}
"""
# KEYS: the stream, its lease, what is in doubt. ARGV: feeder, id of the doubt, lease_ms, keep_ms, results if nobody ...
_SEND = """
if redis.call('HGET', KEYS[1], 'feeder') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'doubt', ARGV[2])
redis.call('DEL', KEYS[3])
for at = 5, #ARGV do redis.call('RPUSH', KEYS[3], ARGV[at]) end
for _, key in ipairs({KEYS[1], KEYS[3]}) do redis.call('PEXPIRE', key, ARGV[4]) end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return 1
"""
# KEYS: the stream, its lease, what is in doubt. ARGV: id of the doubt.
_NOT_SENT = """
if redis.call('HGET', KEYS[1], 'doubt') ~= ARGV[1] then return end
redis.call('HDEL', KEYS[1], 'doubt')
redis.call('DEL', KEYS[2], KEYS[3])
"""
# KEYS: the stream, its results, its lease, what is in doubt, the streams of the principal, all streams.
# ARGV: feeder, id of the doubt, decided before, added, most bytes, keep_ms, token, id of this step, results ...
_DECIDE = """
local found = redis.call('HMGET', KEYS[1], 'feeder', 'doubt', 'decided', 'step')
if found[4] == ARGV[8] then return 1 end
if found[3] ~= ARGV[3] or (found[1] ~= ARGV[1] and found[2] ~= ARGV[2]) then return 0 end
local bytes = 0
for at = 9, #ARGV do
  redis.call('RPUSH', KEYS[2], ARGV[at])
  bytes = bytes + #ARGV[at]
end
redis.call('HSET', KEYS[1], 'step', ARGV[8])
redis.call('HINCRBY', KEYS[1], 'decided', #ARGV - 8)
redis.call('HINCRBY', KEYS[1], 'added', ARGV[4])
bytes = redis.call('HINCRBY', KEYS[1], 'bytes', bytes)
while bytes > tonumber(ARGV[5]) do
  bytes = redis.call('HINCRBY', KEYS[1], 'bytes', -#redis.call('LPOP', KEYS[2]))
end
redis.call('HDEL', KEYS[1], 'doubt')
redis.call('DEL', KEYS[3], KEYS[4])
local time = redis.call('TIME')
for number = 1, 2 do redis.call('PEXPIRE', KEYS[number], ARGV[6]) end
for number = 5, 6 do
  redis.call('ZADD', KEYS[number], time[1] * 1000000 + time[2], ARGV[7])
  redis.call('PEXPIRE', KEYS[number], ARGV[6])
end
return 1
"""


class SharedBulk(Bulk):
    """One submission, as this connection feeds it. `feeder`: the number of the connection."""

    def __init__(self, bulks: "SharedBulks", token: str, fairness_key: str, feeder: int) -> None:
        super().__init__(token, fairness_key)
        self._bulks = bulks
        self._feeder = feeder
        self._doubt = ""
        self._lease: Renewal | None = None
        self._new: list[bytes] = []
        self._new_added = 0

    def load(self, decided: int, added: int, results: list[bytes]) -> None:
        """What was decided before."""
        self.decided, self.added = decided, added
        self.results.extend((entry[:_DIGEST_BYTES], entry[_DIGEST_BYTES:]) for entry in results)

    @asynccontextmanager
    async def sending(self, doubt: Doubt) -> AsyncIterator[None]:
        """See Bulk. Raises StreamTaken when another connection goes on with it."""
        bulks, number = self._bulks, next(self._bulks.numbers)
        self._end_lease()
        asked_at = read_clock()
        self._doubt = f"{bulks.process}.{number}"
        doubted = [digest + result for digest, result in doubt()]
        args = [self._feeder, self._doubt, LEASE_MS, _KEEP_MS, *doubted]
        stream, _, lease, in_doubt = bulks.keys(self.token)
        if not await bulks.ask(bulks.send(keys=[stream, lease, in_doubt], args=args)):
            raise _taken()
        self._lease = Renewal(bulks.shared, lease, self._doubt, asked_at)
        try:
            with sending_while(self._lease.may_send):
                yield
        except GatewayError as error:
            if (error.status < 500 and error.status != 408) or error.status == 503:  # Nothing was sent.
                await bulks.ask(bulks.not_sent(keys=[stream, lease, in_doubt], args=[self._doubt]))
                self._end_lease()
            raise

    def decide(self, digest: bytes, result: bytes, *, is_added: bool) -> None:
        """See Bulk."""
        super().decide(digest, result, is_added=is_added)
        self._new.append(digest + result)
        self._new_added += is_added

    async def keep(self) -> None:
        """See Bulk. Raises StreamTaken when it was resumed without these results, SharedStateAway."""
        before = self.decided - len(self._new)
        step = f"{self._bulks.process}.{next(self._bulks.numbers)}"
        args = [self._feeder, self._doubt, before, self._new_added, MOST_RESULT_BYTES, _KEEP_MS, self.token, step]
        args += self._new
        self._new, self._new_added = [], 0
        try:
            if not await self._bulks.tell(self.token, self.fairness_key, args):
                raise _taken()
        finally:
            self._end_lease()

    def _end_lease(self) -> None:
        if self._lease is not None:
            self._lease.stop()
        self._lease, self._doubt = None, ""


class SharedBulks:
    """The submissions of all replicas."""

    def __init__(self, shared: SharedRedis) -> None:
        self.shared = shared
        self.ask = shared.ask
        self.process = secrets.token_hex(8)
        self.numbers = itertools.count(1)
        self.send, self.not_sent = shared.script(_SEND), shared.script(_NOT_SENT)
        self._begin, self._take, self._load, self._decide = map(shared.script, (_BEGIN, _TAKE, _LOAD, _DECIDE))

    def keys(self, token: str) -> list[str]:
        """The names of a stream, of its results, of its lease and of what is in doubt."""
        stream = self.shared.key("bulk", "stream", token)
        return [stream, f"{stream}:results", f"{stream}:lease", f"{stream}:doubted"]

    async def begin(self, fairness_key: str) -> Bulk:
        """See Bulks."""
        token = secrets.token_urlsafe(16)
        key = self.shared.key
        keys = [self.keys(token)[0], key("bulk", "all"), key("bulk", "counts")]
        prefixes = [key("bulk", "stream", ""), key("bulk", "of", "")]
        args = [fairness_key, token, _KEEP_MS, MOST_OF_ONE, MOST_STREAMS, *prefixes, _hash(fairness_key)]
        await self.ask(self._begin(keys=keys, args=args))
        return SharedBulk(self, token, fairness_key, 1)

    async def mark(self, key: tuple[str, str], token: str) -> None:
        """See Bulks."""
        await self.ask(self.shared.client.set(self._marked(key), token, px=_KEEP_MS))

    async def find(self, key: tuple[str, str]) -> str | None:
        """See Bulks."""
        token = await self.ask(self.shared.client.get(self._marked(key)))
        if token is None or not await self.ask(self.shared.client.exists(self.keys(token.decode())[0])):
            return None
        return str(token.decode())

    async def resume(self, token: str, fairness_key: str) -> Bulk:
        """See Bulks. Raises Overloaded when what is under way takes too long."""
        keys = self.keys(token)
        feeder = await self.ask(self._take(keys=keys[:1], args=[fairness_key]))
        if feeder is None:
            raise not_found()
        until = read_clock() + _LONGEST_WAIT_S
        while (found := await self.ask(self._load(keys=keys, args=[feeder]))) == 1:
            if read_clock() >= until:
                raise Overloaded("A batch of this stream is still under way", headers={"Retry-After": "10"})
            await asyncio.sleep(_LOOK_S)
        if found == 0:
            raise _taken()
        bulk = SharedBulk(self, token, fairness_key, feeder)
        bulk.load(int(found[0]), int(found[1]), found[2])
        return bulk

    async def tell(self, token: str, fairness_key: str, args: list[Any]) -> bool:
        """Write down what was decided; again and again for a while, since RE Manager has done it."""
        keys = [*self.keys(token), *self._lists(fairness_key)]
        until = read_clock() + _TELL_FOR_S
        while True:
            try:
                return bool(await self.ask(self._decide(keys=keys, args=args)))
            except SharedStateAway:
                if read_clock() >= until:
                    raise
                await asyncio.sleep(_TELL_AGAIN_S)

    def _lists(self, fairness_key: str) -> list[str]:
        return [self.shared.key("bulk", "of", _hash(fairness_key)), self.shared.key("bulk", "all")]

    def _marked(self, key: tuple[str, str]) -> str:
        return self.shared.key("bulk", "key", _hash("\n".join(key)))


def build_bulks(shared: SharedRedis | None) -> Bulks:
    """The submissions of this process, or those of all replicas."""
    return MemoryBulks() if shared is None else SharedBulks(shared)


def _hash(text: str) -> str:
    return blake2b(text.encode(), digest_size=12).hexdigest()


def _taken() -> StreamTaken:
    return StreamTaken(
        "Another connection goes on with this stream, or it was forgotten: resume it to see how far it is"
    )
