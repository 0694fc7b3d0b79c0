"""Submission hooks: extensions see, change or refuse items before RE Manager gets them, and see its reply.

The rules:
1. `before_submit` hooks run in registration order, each on the result of the one before. A `Refusal` is answered as
   RE Manager refuses: 200, `success` false, the text in `msg`; nothing is sent.
2. A hook has a time limit. When it raises anything else, or takes longer, its request fails with `extension_failed`
   (502); the items were not sent.
3. `after_submit` hooks cannot undo a submission: their failures are logged, and the reply is sent unchanged.
4. Plain functions run in threads, so that they cannot block the event loop; `async` ones run in the loop.
5. Without hooks there is no overhead (`middleware/hooked.py`).
"""

import asyncio
import functools
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from sanic_qserver.errors import ExtensionFailed, GatewayError
from sanic_qserver.manager.replies import decode_reply
from sanic_qserver.structs.identity import Access
from sanic_qserver.threads import DaemonThreads

log = logging.getLogger("sanic_qserver.extensions")

Item = dict[str, Any]
"""A plan, instruction or function, as the client sent it: `item_type`, `name`, `args`, `kwargs`, perhaps `meta`."""
ITEM_FIELDS: Mapping[str, str] = {
    "queue_item_add": "item",
    "queue_item_add_batch": "items",
    "queue_item_execute": "item",
    "queue_item_update": "item",
    "function_execute": "item",
}
"""RE Manager's methods that submit items, and the param that holds them."""

ITEMS_A_LIMIT = 100  # A hook gets its time limit once for each so many items.


class Refusal(Exception):
    """Raised by a `before_submit` hook: the item is not submitted, and the client gets the text."""


@dataclass(frozen=True, slots=True)
class Submission:
    """What a hook is told beside the item: RE Manager's method, who submits, the request, and how many items.

    With `is_validation` nothing will be submitted: the caller only asks whether the items would be accepted.
    """

    method: str
    access: Access
    request_id: str
    count: int = 1
    is_validation: bool = False

    @property
    def is_function(self) -> bool:
        """Whether the item is a function to execute, not a plan or instruction."""
        return self.method == "function_execute"


BeforeSubmit = Callable[[Item, Submission], Awaitable[Item | None] | Item | None]
"""Sees an item. Returns a changed one, or None to leave it as it is; raises Refusal to refuse it."""
AfterSubmit = Callable[[Mapping[str, Any], Submission], Awaitable[None] | None]
"""Sees RE Manager's reply."""


@dataclass(frozen=True)
class Hook:
    """A function and the module that it came from."""

    module: str
    function: Callable[..., Any]

    @property
    def name(self) -> str:
        """Its name in logs and errors."""
        return f"{self.module}.{getattr(self.function, '__name__', type(self.function).__name__)}"

    def failed(self, fact: str) -> ExtensionFailed:
        """The error for the client. The exception's text may hold secrets: it goes to the log only."""
        return ExtensionFailed(
            f"The extension '{self.name}' {fact}; the server's log has more", extra={"extension": self.module}
        )


@dataclass(frozen=True)
class Refused:
    """The texts of refused items, by their index in the submission."""

    texts: Mapping[int, str]


@dataclass(frozen=True)
class Hooks:
    """All hooks of an application. `timeout_s` is the limit of one hook for up to 100 items."""

    before: Sequence[Hook] = ()
    after: Sequence[Hook] = ()
    timeout_s: float = 2.0
    threads: DaemonThreads = field(default_factory=DaemonThreads, compare=False)

    async def prepare(self, items: list[Item], submission: Submission) -> list[Item] | Refused:
        """The items after every `before_submit` hook, or the refusals. Raises ExtensionFailed."""
        for hook in self.before:
            result = await self._limited(hook, _before, items, submission)
            if isinstance(result, Refused):
                return result
            items = result
        return items

    async def report(self, reply: bytes, submission: Submission) -> None:
        """Show RE Manager's reply to every `after_submit` hook."""
        if not self.after:
            return
        decoded = decode_reply(reply)
        for hook in self.after:
            try:
                await self._limited(hook, _after, decoded, submission)
            except GatewayError as error:
                log.warning("after_submit hook '%s': %s", hook.name, error.detail)

    async def _limited(self, hook: Hook, run: Callable[..., Any], value: Any, submission: Submission) -> Any:
        limit_s = self.timeout_s * (1 + submission.count // ITEMS_A_LIMIT)
        return await limited(hook, limit_s, functools.partial(run, hook, value, submission), self.threads)


async def limited(
    hook: Hook, limit_s: float, run: Callable[[], Awaitable[Any]], threads: DaemonThreads | None = None
) -> Any:
    """Await `run` for at most `limit_s` seconds: plain functions in a thread, `async` ones here.

    Raises ExtensionFailed, naming the hook, for any failure, also when the hook blocked the loop.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()
    try:
        async with asyncio.timeout(limit_s):
            if is_async(hook.function):
                result = await run()
            else:
                # The coroutine of a plain function never suspends: it is done after one step, in the thread.
                result = await (threads or DaemonThreads()).run(functools.partial(_finish, run))
    except TimeoutError:
        log.error("%s did not end within %g s", hook.name, limit_s)  # noqa: TRY400  # the stack is the loop's
        raise hook.failed(f"did not end within {limit_s:g} s") from None
    except GatewayError:
        raise
    except Exception as error:  # third-party code
        log.exception("%s raised", hook.name)
        raise hook.failed(f"raised {type(error).__name__}") from None
    if (took_s := loop.time() - started) > limit_s:
        log.error("%s blocked the event loop for %.1f s", hook.name, took_s)
        raise hook.failed(f"blocked the server for {took_s:.1f} s")
    return result


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it returns a coroutine."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004  # an object with `async def __call__`
    )


def _finish(run: Callable[[], Awaitable[Any]]) -> Any:
    step = run().__await__()
    try:
        next(step)
    except StopIteration as done:
        return done.value
    raise TypeError("a plain function returned something to await: declare it `async def`")


async def _before(hook: Hook, items: list[Item], submission: Submission) -> list[Item] | Refused:
    results, refusals = [], {}
    may_pause = is_async(hook.function)
    for number, item in enumerate(items):
        if may_pause and number % ITEMS_A_LIMIT == ITEMS_A_LIMIT - 1:
            await asyncio.sleep(0)  # Thousands of rows must not block the loop.
        try:
            changed = hook.function(item, submission)
            if inspect.isawaitable(changed):
                changed = await changed
        except Refusal as refusal:
            refusals[number] = str(refusal) or f"refused by {hook.name}"
            continue
        if changed is None:
            results.append(item)
            continue
        if not isinstance(changed, dict):
            raise TypeError(f"returned {type(changed).__name__}, not an item")
        msgspec.json.encode(changed)  # A value that is not JSON is the hook's failure.
        results.append(changed)
    return Refused(refusals) if refusals else results


async def _after(hook: Hook, reply: Mapping[str, Any], submission: Submission) -> None:
    result = hook.function(reply, submission)
    if inspect.isawaitable(result):
        await result


def refusal_reply(method: str, items: list[Item], refused: Refused) -> bytes:
    """The reply to the client, in the form of RE Manager's own refusal of this method."""
    where, text = next(iter(refused.texts.items()))
    if ITEM_FIELDS[method] == "item":
        reply: dict[str, Any] = {"success": False, "msg": f"Refused: {text}", "item": items[0]}
        reply["task_uid" if method == "function_execute" else "qsize"] = None
        return msgspec.json.encode(reply)
    results = [
        {"success": number not in refused.texts, "msg": refused.texts.get(number, "")} for number in range(len(items))
    ]
    msg = f"Refused: {len(refused.texts)} of {len(items)} items; item {where}: {text}"
    return msgspec.json.encode({"success": False, "msg": msg, "items": items, "results": results, "qsize": None})
