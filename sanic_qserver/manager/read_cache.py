"""Reads from RE Manager: identical concurrent ones are coalesced, large replies cached and revalidated.

The rules:
1. A caller shares only a request that was not sent yet, so it sees everything that was answered before it asked.
   For each kind of read at most one request is in flight, and one more collects callers.
2. A cached reply is given only when a status requested afterwards still shows its uid. It is as fresh as RE
   Manager's own status: while a plan starts or ends, that was seen to be up to 19 ms behind the queue.
3. A uid is taken from the reply's structure, never searched for in its text, which users write.
4. Only replies whose uid changes with everything in them are cached (see VALIDATED).
"""

import asyncio
from collections import OrderedDict
from functools import cached_property
from time import monotonic
from typing import Any

import msgspec
from msgspec import Struct

from sanic_qserver.config.settings import ReadsConfig
from sanic_qserver.errors import GatewayError
from sanic_qserver.manager.bodies import Body
from sanic_qserver.manager.client.batching import copy_error
from sanic_qserver.manager.client.call import QueuedCall
from sanic_qserver.manager.client.client import ManagerClient
from sanic_qserver.manager.client.timeline import TIMELINE

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

Not cached, since RE Manager 0.0.25 has no uid that changes with them: `permissions_get` (setting permissions changes
the uids of the allowed plans and devices only when all of it succeeded), `config_get`, `re_metadata`, tasks (results
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
# Turns of the loop to wait for further callers: for the first one, who may be alone, and after a reply, when many are
# about to ask again. Measured at 64 connections: 60 callers share a request, 25 without.
_TURNS_ALONE = 1
_TURNS = 4
_DISTRUST_S = 60.0
_MISSES = 2  # A list that changed so often between two looks is asked for without asking for its uid first.


class _Callers(list["asyncio.Future[bytes]"]):
    """Callers who share one call, once it is made."""

    __slots__ = ("call",)

    def __init__(self) -> None:
        super().__init__()
        self.call: QueuedCall | None = None


class _Coalesced:
    """Callers who share a read: those of the call that is queued or in flight, and those of the next one."""

    __slots__ = ("call", "fairness_key", "is_shared", "next", "now")

    def __init__(self, fairness_key: str) -> None:
        self.call: QueuedCall | None = None
        self.fairness_key = fairness_key
        self.is_shared = False  # by callers with different fairness keys
        self.now = _Callers()
        self.next = _Callers()


class ReadCache:
    """Coalesces and caches reads. One per application, on the loop of its client."""

    def __init__(self, manager: ManagerClient, config: ReadsConfig) -> None:
        self._manager = manager
        self._most_bytes = config.kept_bytes
        self._coalesced: dict[Key, _Coalesced] = {}
        self._cached: OrderedDict[Key, Body] = OrderedDict()
        self._cached_bytes = 0
        self._distrusted: dict[str, float] = {}
        self._missed: dict[Key, int] = {}
        self._status: bytes = b""
        self._status_uids = _NO_UIDS
        self.counts = {"asked": 0, "sent": 0, "kept": 0}

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        """The loop of the first caller. Kept: Python asks the system for the process at each `get_running_loop`."""
        return asyncio.get_running_loop()

    @property
    def cached_bytes(self) -> int:
        """Size of the cached replies, without their compressed forms."""
        return self._cached_bytes

    def coalesce(self, method: str, params: Any = None, *, fairness_key: str = "") -> "asyncio.Future[bytes]":
        """The reply to a read, shared with callers who asked for the same before it was sent."""
        return self._coalesce((method, b"" if params is None else msgspec.json.encode(params)), params, fairness_key)

    async def read(self, method: str, params: Any = None, *, fairness_key: str = "") -> Body:
        """The reply to a read, from the cache if its uid is still current. `uid` is "" when the reply has none."""
        encoded = b"" if params is None else msgspec.json.encode(params)
        key = (method, b"" if encoded == b"{}" else encoded)
        name = VALIDATED.get(method)
        if name is None or (method == "lock_info" and key[1]):
            return Body(await self._coalesce(key, params, fairness_key))
        cached = self._cached.get(key)
        if cached is not None and self._missed.get(key, 0) < _MISSES and not self._is_distrusted(method):
            if getattr(await self._uids(fairness_key), name) == cached.uid:
                self._missed.pop(key, None)
                self.counts["kept"] += 1
                return cached
            self._missed[key] = self._missed.get(key, 0) + 1
        body = self._store(key, await self._coalesce(key, params, fairness_key), name)
        if body is cached:  # The uid is stable again.
            self._missed.pop(key, None)
        return body

    def distrust(self, method: str) -> None:
        """Take nothing from the cache for a while: RE Manager failed half-way, and its uid may not tell what changed.

        An item that Redis took although its answer was lost is in the queue, under the old `plan_queue_uid`.
        """
        self._distrusted[method] = monotonic() + _DISTRUST_S

    def _is_distrusted(self, method: str) -> bool:
        return bool(self._distrusted) and monotonic() < self._distrusted.get(method, 0.0)

    async def _uids(self, fairness_key: str) -> _Uids:
        """The uids of a status asked for now."""
        status = await self._coalesce(("status", b""), None, fairness_key)
        if status is not self._status:  # Decoded once for all who share it.
            self._status_uids = _read_uids(status)
            self._status = status
        return self._status_uids

    def _store(self, key: Key, reply: bytes, name: str) -> Body:
        before = self._cached.get(key)
        if before is not None and before.json is reply:
            return before
        uids = _read_uids(reply)
        uid = getattr(uids, name) if uids.success else None
        body = Body(reply, uid or "", key)
        if before is not None and before.uid == uid:
            return before
        if not uid or len(reply) > self._most_bytes:
            return body
        if before is not None:
            self._cached_bytes -= len(before.json)
        self._cached[key] = body
        self._cached.move_to_end(key)
        self._cached_bytes += len(reply)
        while self._cached_bytes > self._most_bytes:
            oldest, dropped = self._cached.popitem(last=False)
            self._cached_bytes -= len(dropped.json)
            self._missed.pop(oldest, None)
        return body

    def _coalesce(self, key: Key, params: Any, fairness_key: str) -> "asyncio.Future[bytes]":
        # Each caller has a future of its own: one that goes away must not take the answer from the others.
        caller: asyncio.Future[bytes] = self._loop.create_future()
        self.counts["asked"] += 1
        group = self._coalesced.get(key)
        if group is not None:
            call = group.call
            is_sent = call is None or call.sent_at or call.is_settled
            if fairness_key != group.fairness_key:
                group.is_shared = True
                if call is not None and not is_sent:
                    call.is_shared = True
            callers = group.next if is_sent else group.now
        else:
            group = self._coalesced[key] = _Coalesced(fairness_key)
            callers = group.next
            self._send_after(_TURNS_ALONE, key, group, params, fairness_key)
        callers.append(caller)
        if (timeline := TIMELINE.get()) is not None:
            timeline.note(callers)
        return caller

    def _send_after(self, turns: int, key: Key, group: _Coalesced, params: Any, fairness_key: str) -> None:
        """Send some turns of the loop later: who has asked by then shares the request. An idle loop turns at once."""
        if turns:
            self._loop.call_soon(self._send_after, turns - 1, key, group, params, fairness_key)
        else:
            self._send(key, group, params, fairness_key)

    def _send(self, key: Key, group: _Coalesced, params: Any, fairness_key: str) -> None:
        callers = group.now = group.next
        callers[:] = [caller for caller in callers if not caller.done()]
        group.next = _Callers()
        TIMELINE.set(None)  # This runs in a copy of the context of whoever came first, and is for all.
        if not group.now:
            del self._coalesced[key]
            return
        try:
            callers.call = group.call = self._manager.call(key[0], params, fairness_key=fairness_key)
            group.call.is_shared = group.is_shared
        except GatewayError as error:
            del self._coalesced[key]
            _fail(group.now, error)
            return
        self.counts["sent"] += 1
        group.call.future.add_done_callback(lambda done: self._answered(done, key, group, params, fairness_key))

    def _answered(
        self, reply: "asyncio.Future[bytes]", key: Key, group: _Coalesced, params: Any, fairness_key: str
    ) -> None:
        callers, group.now, group.call = group.now, _Callers(), None
        self._send_after(_TURNS, key, group, params, fairness_key)
        error = reply.exception()
        if error is None:
            answer = reply.result()
            for caller in callers:
                if not caller.done():
                    caller.set_result(answer)
        elif isinstance(error, GatewayError):
            _fail(callers, error)


def _read_uids(reply: bytes) -> _Uids:
    try:
        return _decode_uids(reply)
    except msgspec.DecodeError:  # RE Manager's encoder may write NaN, which JSON does not know: not cached then.
        return _NO_UIDS


def _fail(callers: _Callers, error: GatewayError) -> None:
    for caller in callers:
        if not caller.done():
            caller.set_exception(copy_error(error))
