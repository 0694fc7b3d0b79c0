"""The log of all replicas in Redis: its names, and the atomic steps that write and read it.

The rules:
1. A step that appends takes the numbers, adds the events and stores the states that they lead to, or does nothing: a
   state that is read is exactly as of the number that is read with it.
2. The follower's steps are refused unless its fence is the newest and the epoch is the one it means (`Refused`). What
   any replica may append (proposals, uploads) has a token instead: sent again, it is appended once.
3. The epoch is made once and outlives all replicas. It is made anew, and the log begins anew, when Redis has lost what
   a replica has already told: its data, or the last seconds of them.
4. After a start of Redis nothing is appended for a moment: first each replica says how far it was told.

Each topic has a stream of its own, of bounded length; its entries' ids are `<number>-0`. What RE Manager published is
relayed in two more streams. All of it goes away `TTL_S` after the last follower.
"""

import asyncio
import os
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from sanic_qserver.errors import GatewayError
from sanic_qserver.manager.live.event_log import TOPICS
from sanic_qserver.shared_state.redis import SharedRedis

TTL_S = 30 * 86_400
RELAYS = ("relay:console", "relay:info")
STREAMS = (*TOPICS, *RELAYS)
BLOCK_MS = 1000
_SETTLE_MS = 1200
_LARGE = 16_384  # Bytes of a state: larger ones are compressed, in a thread.
_TOKEN_MS = 600_000

# KEYS: epoch, number, run, settle, then what an epoch consists of. ARGV: new epoch, known epoch, known number,
# run of Redis, settle_ms.
_OPEN = """
local epoch = redis.call('GET', KEYS[1])
local run = redis.call('GET', KEYS[3])
if run ~= ARGV[4] then
  redis.call('SET', KEYS[3], ARGV[4])
  if epoch then redis.call('SET', KEYS[4], 1, 'PX', ARGV[5]) end
end
local number = tonumber(redis.call('GET', KEYS[2]) or '0')
if not epoch or (epoch == ARGV[2] and number < tonumber(ARGV[3])) then
  for i = 5, #KEYS do redis.call('DEL', KEYS[i]) end
  epoch, number = ARGV[1], 0
  redis.call('SET', KEYS[1], epoch)
  redis.call('SET', KEYS[2], 0)
end
return {epoch, number}
"""
# KEYS: epoch, number, fence, settle, token, states, then the streams. ARGV: epoch, fence ('' for any replica),
# token_ms, count of states, then pairs of name and state, then for each entry: key (from 1 among the streams), length,
# 'e' for an event and 'r' for what is relayed, three pairs of name and value.
# Gives the newest number; -1: refused, -2: too early.
_APPEND = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
if ARGV[2] ~= '' and redis.call('GET', KEYS[3]) ~= ARGV[2] then return -1 end
if redis.call('EXISTS', KEYS[4]) == 1 then return -2 end
local number = tonumber(redis.call('GET', KEYS[2]) or '0')
if ARGV[2] == '' and not redis.call('SET', KEYS[5], 1, 'NX', 'PX', ARGV[3]) then return number end
local at = 5 + 2 * tonumber(ARGV[4])
if at > 5 then redis.call('HSET', KEYS[6], unpack(ARGV, 5, at - 1)) end
local first = number
while at <= #ARGV do
  local id = '*'
  if ARGV[at + 2] == 'e' then
    number = number + 1
    id = string.format('%d-0', number)
  end
  redis.call('XADD', KEYS[6 + tonumber(ARGV[at])], 'MAXLEN', '~', ARGV[at + 1], id, unpack(ARGV, at + 3, at + 8))
  at = at + 9
end
if number > first then redis.call('INCRBY', KEYS[2], number - first) end
return number
"""


class Refused(GatewayError):
    """Nothing was appended: another replica follows now, or the log was begun anew."""

    code = "not_the_follower"


class Entry(NamedTuple):
    """One entry to append: an event without the id at its front (see `message`), or a publication of RE Manager."""

    stream: str
    body: bytes
    kind: str = ""
    audience: tuple[str, ...] = ()


class Read(NamedTuple):
    """An entry as it is read: `number` is 0 for what was relayed."""

    stream: str
    id: str
    number: int
    body: bytes
    kind: str
    audience: tuple[str, ...]


class States(NamedTuple):
    """What the states were at one number. Those that were never known are missing."""

    epoch: str
    number: int
    bodies: dict[str, bytes]


class Everything(NamedTuple):
    """The states, and the ends of all streams, oldest first. `lost`: the newest number of each topic that is gone."""

    states: States
    entries: dict[str, list[Read]]
    lost: dict[str, int]


class LogStore:
    """Reads and writes the log. Each method raises SharedStateAway when Redis does not answer."""

    def __init__(self, redis: SharedRedis, fence_key: str, kept_events: int, kept_relayed: int) -> None:
        self._redis = redis
        self._kept = kept_events
        self._kept_relayed = kept_relayed
        self._stream_keys = [redis.key("events", "log", stream) for stream in STREAMS]
        self._names = dict(zip([key.encode() for key in self._stream_keys], STREAMS, strict=True))
        self._epoch, self._number, self._run, self._settle, self._states = (
            redis.key("events", name) for name in ("epoch", "number", "run", "settle", "states")
        )
        self._fence = fence_key
        self._open = redis.script(_OPEN)
        self._append = redis.script(_APPEND)

    @property
    def max_length(self) -> int:
        """A stream holds at least so many entries before the oldest go: who reads fewer has missed none."""
        return self._kept + 100

    async def open(self, epoch: str, number: int) -> tuple[str, int]:
        """The epoch and its newest number. Begins a new one when Redis has less than was told of this epoch."""
        run = (await self._redis.ask(self._redis.client.info("server")))["run_id"]
        keys = [self._epoch, self._number, self._run, self._settle, self._states]
        keys += self._stream_keys[: len(TOPICS)]
        answer = await self._redis.ask(
            self._open(keys=keys, args=[os.urandom(4).hex(), epoch, number, run, _SETTLE_MS])
        )
        return answer[0].decode(), int(answer[1])

    async def position(self) -> tuple[str, int]:
        """The epoch ("" for none) and its newest number."""
        epoch, number = await self._redis.ask(self._redis.client.mget(self._epoch, self._number))
        return (epoch or b"").decode(), int(number or 0)

    async def append(
        self, epoch: str, fence: int | None, entries: Sequence[Entry], states: dict[str, bytes], token: str = ""
    ) -> int:
        """Append these, and store the states that they lead to. Gives the newest number.

        Without a fence it takes a token. Raises Refused. After SharedStateAway nobody knows whether it was done.
        """
        keys = [self._epoch, self._number, self._fence, self._settle, self._redis.key("events", "token", token)]
        keys += [self._states, *self._stream_keys]
        args: list[Any] = [epoch, "" if fence is None else fence, _TOKEN_MS, len(states)]
        for name, body in states.items():
            args += [name, await _pack(body)]
        for entry in entries:
            length, what = (self._kept_relayed, "r") if entry.stream in RELAYS else (self.max_length, "e")
            audience = msgspec.json.encode(entry.audience) if entry.audience else ""
            args += [STREAMS.index(entry.stream) + 1, length, what]
            args += ["b", entry.body, "k", entry.kind, "a", audience]
        while True:
            number = int(await self._redis.ask(self._append(keys=keys, args=args)))
            if number == -1:
                raise Refused("Another replica follows RE Manager now")
            if number != -2:
                return number
            await asyncio.sleep(_SETTLE_MS / 4000)

    async def states(self, names: Iterable[str]) -> States:
        """These states, as of one number."""
        wanted = list(names)
        async with self._redis.client.pipeline(transaction=True) as all_at_once:
            all_at_once.mget(self._epoch, self._number).hmget(self._states, wanted)
            (epoch, number), bodies = await self._redis.ask(all_at_once.execute())
        found = {name: await _unpack(body) for name, body in zip(wanted, bodies, strict=True) if body is not None}
        return States((epoch or b"").decode(), int(number or 0), found)

    async def everything(self, names: Iterable[str]) -> Everything:
        """These states, and the ends of all streams, as of one number."""
        wanted = list(names)
        async with self._redis.client.pipeline(transaction=True) as all_at_once:
            all_at_once.mget(self._epoch, self._number).hmget(self._states, wanted)
            for stream, key in zip(STREAMS, self._stream_keys, strict=True):
                count = self._kept + 1 if stream in TOPICS else self._kept_relayed
                all_at_once.xrevrange(key, count=count)
            (epoch, number), bodies, *ends = await self._redis.ask(all_at_once.execute())
        found = {name: await _unpack(body) for name, body in zip(wanted, bodies, strict=True) if body is not None}
        entries, lost = {}, {}
        for stream, rows in zip(STREAMS, ends, strict=True):
            entries[stream] = [_read(stream, row) for row in reversed(rows)]
            if stream in TOPICS:
                is_cut = len(rows) > self._kept
                lost[stream] = entries[stream].pop(0).number if is_cut else 0
        return Everything(States((epoch or b"").decode(), int(number or 0), found), entries, lost)

    async def wait(self, after: dict[str, str]) -> dict[str, list[Read]]:
        """What came in each stream after these ids; waits up to `BLOCK_MS` for something to come."""
        positions = {key: after.get(stream, "0-0") for key, stream in zip(self._stream_keys, STREAMS, strict=True)}
        answer = await self._redis.ask(self._redis.client.xread(positions, block=BLOCK_MS))
        pairs = answer.items() if isinstance(answer, dict) else answer
        return {self._names[key]: [_read(self._names[key], row) for row in rows] for key, rows in pairs or ()}

    async def relayed(self, stream: str, count: int) -> list[bytes]:
        """The last publications that were relayed."""
        key = self._stream_keys[STREAMS.index(stream)]
        rows = await self._redis.ask(self._redis.client.xrevrange(key, count=max(count, 1)))
        return [fields[b"b"] for _, fields in rows]

    async def touch(self) -> None:
        """Let all of it live for `TTL_S` from now on."""
        async with self._redis.client.pipeline(transaction=False) as all_at_once:
            for key in (self._epoch, self._number, self._run, self._fence, self._states, *self._stream_keys):
                all_at_once.expire(key, TTL_S)
            await self._redis.ask(all_at_once.execute())


def _read(stream: str, row: tuple[bytes, dict[bytes, bytes]]) -> Read:
    row_id, fields = row
    text = row_id.decode()
    number = int(text.partition("-")[0]) if stream in TOPICS else 0
    audience = tuple(msgspec.json.decode(fields[b"a"])) if fields[b"a"] else ()
    return Read(stream, text, number, fields[b"b"], fields[b"k"].decode(), audience)


async def _pack(body: bytes) -> bytes:
    """As it is stored: compressed if it is large."""
    if len(body) < _LARGE:
        return b"j" + body
    return b"z" + await asyncio.to_thread(zlib.compress, body, 1)


async def _unpack(stored: bytes) -> bytes:
    if stored[:1] == b"j":
        return stored[1:]
    return await asyncio.to_thread(zlib.decompress, stored[1:])
