"""Reads that are faster than asking: identical ones join, and large replies are kept under RE Manager's uid.

The rules:
1. A caller joins only a request that was not sent yet, so it sees everything that was answered before it asked.
   For each kind of read one request is under way and one gathers callers.
2. A kept reply is given only when a status that was asked for afterwards still shows its uid. It is as fresh as RE
   Manager's own status: while a plan starts or ends, that was seen to be up to 19 ms behind the queue.
3. A uid is taken from the reply's structure, never searched for in its text, which users write.
4. Kept are only replies whose uid changes with everything in them (see VALIDATED).
"""

import asyncio
from collections import OrderedDict
from functools import cached_property
from typing import Any

import msgspec
from msgspec import Struct

from sanic_qserver.config.settings import ReadsConfig
from sanic_qserver.errors import GatewayError
from sanic_qserver.manager.bodies import Body
from sanic_qserver.manager.client.batching import copy_of
from sanic_qserver.manager.client.call import Entry
from sanic_qserver.manager.client.client import ManagerClient

VALIDATED = {
    "queue_get": "plan_queue_uid",
    "history_get": "plan_history_uid",
    "plans_allowed": "plans_allowed_uid",
    "plans_existing": "plans_existing_uid",
    "devices_allowed": "devices_allowed_uid",
    "devices_existing": "devices_existing_uid",
    "re_runs": "run_list_uid",
    "lock_info": "lock_info_uid",
}
"""Methods and the uid, in the reply and in the status, that changes with it (each tested against RE Manager).

Not kept, since RE Manager 0.0.25 has no uid that changes with them: `permissions_get` (setting permissions changes the
uids of the allowed plans and devices only after it worked throughout), `config_get`, `re_metadata`, tasks (results
expire without a change of `task_results_uid`), and `lock_info` with a key, which is a question about the key.
"""


class _Uids(Struct):
    """What a status and a reply have in common."""

    success: bool = True
    plan_queue_uid: str | None = None
    plan_history_uid: str | None = None
    plans_allowed_uid: str | None = None
    plans_existing_uid: str | None = None
    devices_allowed_uid: str | None = None
    devices_existing_uid: str | None = None
    run_list_uid: str | None = None
    lock_info_uid: str | None = None


_decode_uids = msgspec.json.Decoder(_Uids).decode
_NO_UIDS = _Uids(success=False)
Key = tuple[str, bytes]
# Turns of the loop for which callers gather: at the first one, who may be alone, and behind an answer, when many are
# about to ask again. Measured at 64 connections: 60 callers share a request, 25 without.
_TURNS_ALONE = 1
_TURNS = 4
_MISSES = 2  # A list that changed so often between two looks is asked for without asking for its uid first.


class _Gathering:
    """The callers of the call that is under way or waits for its turn, and those of the next one."""

    __slots__ = ("call", "is_shared", "lane", "next", "now")

    def __init__(self, lane: str) -> None:
        self.call: Entry | None = None
        self.lane = lane
        self.is_shared = False  # by callers of several lanes, of late
        self.now: list[asyncio.Future[bytes]] = []
        self.next: list[asyncio.Future[bytes]] = []


class Reads:
    """Reads from RE Manager. One an application, on the loop of its client."""

    def __init__(self, manager: ManagerClient, config: ReadsConfig) -> None:
        self._manager = manager
        self._most_bytes = config.kept_bytes
        self._gatherings: dict[Key, _Gathering] = {}
        self._kept: OrderedDict[Key, Body] = OrderedDict()
        self._kept_bytes = 0
        self._missed: dict[Key, int] = {}
        self._status: bytes = b""
        self._status_uids = _NO_UIDS
        self.counts = {"asked": 0, "sent": 0, "kept": 0}

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        """The loop of the first caller. Kept: Python asks the system for the process at each `get_running_loop`."""
        return asyncio.get_running_loop()

    @property
    def kept_bytes(self) -> int:
        """Size of the kept replies, without what was made from them."""
        return self._kept_bytes

    def joined(self, method: str, params: Any = None, *, lane: str = "") -> "asyncio.Future[bytes]":
        """The reply to a read, perhaps shared with callers who asked for the same before it was sent."""
        return self._join((method, b"" if params is None else msgspec.json.encode(params)), params, lane)

    async def body(self, method: str, params: Any = None, *, lane: str = "") -> Body:
        """The reply to a read, kept from earlier if RE Manager's uid still stands. Its `uid` is "" when it has none."""
        encoded = b"" if params is None else msgspec.json.encode(params)
        key = (method, b"" if encoded == b"{}" else encoded)
        name = VALIDATED.get(method)
        if name is None or (method == "lock_info" and key[1]):
            return Body(await self._join(key, params, lane))
        kept = self._kept.get(key)
        if kept is not None and self._missed.get(key, 0) < _MISSES:
            if getattr(await self._uids(lane), name) == kept.uid:
                self._missed.pop(key, None)
                self.counts["kept"] += 1
                return kept
            self._missed[key] = self._missed.get(key, 0) + 1
        body = self._keep(key, await self._join(key, params, lane), name)
        if body is kept:  # It has come to rest.
            self._missed.pop(key, None)
        return body

    async def _uids(self, lane: str) -> _Uids:
        """The uids of a status asked for now."""
        status = await self._join(("status", b""), None, lane)
        if status is not self._status:  # Decoded once for all who share it.
            self._status_uids = _uids_of(status)
            self._status = status
        return self._status_uids

    def _keep(self, key: Key, reply: bytes, name: str) -> Body:
        before = self._kept.get(key)
        if before is not None and before.json is reply:
            return before
        uids = _uids_of(reply)
        uid = getattr(uids, name) if uids.success else None
        body = Body(reply, uid or "", key)
        if before is not None and before.uid == uid:
            return before
        if not uid or len(reply) > self._most_bytes:
            return body
        if before is not None:
            self._kept_bytes -= len(before.json)
        self._kept[key] = body
        self._kept.move_to_end(key)
        self._kept_bytes += len(reply)
        while self._kept_bytes > self._most_bytes:
            oldest, dropped = self._kept.popitem(last=False)
            self._kept_bytes -= len(dropped.json)
            self._missed.pop(oldest, None)
        return body

    def _join(self, key: Key, params: Any, lane: str) -> "asyncio.Future[bytes]":
        # Each caller has a future of its own: one that goes away must not take the answer from the others.
        caller: asyncio.Future[bytes] = self._loop.create_future()
        self.counts["asked"] += 1
        gathering = self._gatherings.get(key)
        if gathering is not None:
            call = gathering.call
            is_sent = call is None or call.sent_at or call.is_settled
            if lane != gathering.lane:
                gathering.is_shared = True
                if call is not None and not is_sent:
                    call.is_shared = True
            (gathering.next if is_sent else gathering.now).append(caller)
        else:
            gathering = self._gatherings[key] = _Gathering(lane)
            gathering.next.append(caller)
            self._send_after(_TURNS_ALONE, key, gathering, params, lane)
        return caller

    def _send_after(self, turns: int, key: Key, gathering: _Gathering, params: Any, lane: str) -> None:
        """Send some turns of the loop later: who has asked by then joins. An idle loop turns at once."""
        if turns:
            self._loop.call_soon(self._send_after, turns - 1, key, gathering, params, lane)
        else:
            self._send(key, gathering, params, lane)

    def _send(self, key: Key, gathering: _Gathering, params: Any, lane: str) -> None:
        gathering.now, gathering.next = [caller for caller in gathering.next if not caller.done()], []
        if not gathering.now:
            del self._gatherings[key]
            return
        try:
            gathering.call = self._manager.call(key[0], params, lane=lane)
            gathering.call.is_shared = gathering.is_shared
        except GatewayError as error:
            del self._gatherings[key]
            _fail(gathering.now, error)
            return
        self.counts["sent"] += 1
        gathering.call.future.add_done_callback(lambda done: self._answered(done, key, gathering, params, lane))

    def _answered(
        self, reply: "asyncio.Future[bytes]", key: Key, gathering: _Gathering, params: Any, lane: str
    ) -> None:
        callers, gathering.now, gathering.call = gathering.now, [], None
        self._send_after(_TURNS, key, gathering, params, lane)
        error = reply.exception()
        if error is None:
            answer = reply.result()
            for caller in callers:
                if not caller.done():
                    caller.set_result(answer)
        elif isinstance(error, GatewayError):
            _fail(callers, error)


def _uids_of(reply: bytes) -> _Uids:
    try:
        return _decode_uids(reply)
    except msgspec.DecodeError:  # RE Manager's encoder may write NaN, which JSON does not know: not kept then.
        return _NO_UIDS


def _fail(callers: "list[asyncio.Future[bytes]]", error: GatewayError) -> None:
    for caller in callers:
        if not caller.done():
            caller.set_exception(copy_of(error))
