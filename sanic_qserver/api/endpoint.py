"""What a row of the table is, and the default way to serve it.

Rows are frozen values. They drive the routes, the gate, the OpenAPI document, `sanic-qserver routes`
and the tests over every row. Nothing here knows Sanic or 0MQ.
"""

import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar, Protocol, Self, cast

from msgspec import Struct, structs

from sanic_qserver.api.around import AUDITED, Around, choose_around
from sanic_qserver.manager.bodies import Body
from sanic_qserver.manager.live.subscriber import Subscriber
from sanic_qserver.scopes import Scope
from sanic_qserver.structs.identity import Access
from sanic_qserver.structs.requests import NoParams, Params

JSON = "application/json"
SMALL_BODY = 65_536
"""Bytes that the body of an ordinary row, and of every public one, has at most."""
ANY_BODY = sys.maxsize
"""For rows that take items, scripts or files: as many bytes as `[server] max_body_bytes` lets in."""


class Stamp(Enum):
    """What the server writes over the params before RE Manager sees them: the caller's name, group, or both."""

    NOTHING = ()
    CALLER = ("user", "user_group")
    USER = ("user",)
    USER_GROUP = ("user_group",)

    def __new__(cls, *names: str) -> Self:
        """Python 3.11.2, Debian 12's own, would make a bare object() of an empty tuple."""
        member = object.__new__(cls)
        member._value_ = names
        return member


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply with a status, content type or headers of its own. `cookies` are values of `Set-Cookie`."""

    body: bytes = b""
    status: int = 200
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    cookies: tuple[str, ...] = ()


# The first argument of each is the Call (`api/call.py`). A call knows its row, so a row cannot know the type of calls.
Serve = Callable[[Any], Awaitable[bytes | Body | Answer]]
ServeLines = Callable[[Any, AsyncIterator[Sequence[bytes]]], AsyncIterator[bytes]]
Source = Callable[[Any], AsyncIterator[bytes] | Awaitable[Subscriber]]
"""Where a stream's messages come from: an iterator for each watcher, or one channel for all (`manager/live/`)."""


def get_json(answer: bytes | Body | Answer) -> bytes:
    """The reply as JSON, however it was served."""
    if isinstance(answer, bytes):
        return answer
    return answer.json if isinstance(answer, Body) else answer.body


class Forwarded(Protocol):
    """What `forward` needs of a call."""

    async def ask(self) -> bytes:
        """RE Manager's reply to the call."""
        ...


async def forward(call: Forwarded) -> bytes:
    """Hand the params to RE Manager, and its reply, undecoded, to the client."""
    return await call.ask()


@dataclass(frozen=True)
class Endpoint:
    """One row: verb and path, the scope it asks for, RE Manager's method and params, and what serves it.

    `path` begins with a slash and is served under `/api`, and at the root too unless `at_root` is False.
    `scope` None means public, which must be said. `method` "" means that `serve` answers without RE Manager.
    `params` is the struct of the arguments; its docstring documents the call. `stamp` is written over it. `reply` is a
    struct for the documentation only. `reads_form` fills `call.files`.
    `aliases` are further (verb, path) pairs with the same meaning.
    `changes` marks calls that change something: they are audited, may carry an `Idempotency-Key`, and a
    time-out means that the outcome is unknown. Any of `any_scope` admits as well as `scope`.
    `around` is what surrounds `serve`, outermost first; left out, it is what the method needs (`api/around.py`).
    `inside` is what `serve` does itself for items that only it sees; for the server's own rows.
    `max_body_bytes` bounds the body; `[server] max_body_bytes` bounds all.
    """

    verb: str
    path: str
    scope: Scope | None
    method: str
    params: type[Params] = NoParams
    stamp: Stamp = Stamp.NOTHING
    serve: Serve = forward
    aliases: tuple[tuple[str, str], ...] = ()
    reply: type[Struct] | None = None
    changes: bool = False
    reads_form: bool = False
    at_root: bool = True
    any_scope: tuple[Scope, ...] = ()
    ignores_credential: bool = False
    around: tuple[Around, ...] = cast("tuple[Around, ...]", None)  # Never None once the row is made.
    inside: tuple[Around, ...] = ()
    max_body_bytes: int = SMALL_BODY

    def __post_init__(self) -> None:
        around: tuple[Around, ...] | None = self.around
        if around is None:
            around = choose_around(self.method, self.domain, changes=self.changes)
            object.__setattr__(self, "around", around)
        object.__setattr__(self, "changes", self.changes or AUDITED in (*around, *self.inside))

    @property
    def summary(self) -> str:
        """The first line of the struct's docstring; of the serving function's, where there is nothing to send."""
        doc = (None if self.params is NoParams else self.params.__doc__) or self.serve.__doc__ or self.path
        return doc.strip().splitlines()[0]

    @property
    def name(self) -> str:
        """Path and verb as one word, unique in the table: the operation id."""
        return operation_id(self.verb, self.path)

    @property
    def domain(self) -> str:
        """The first part of the path: which blueprint and which chapter of the documentation it is in."""
        return self.path.strip("/").split("/")[0] or "status"


@dataclass(frozen=True)
class LinesEndpoint(Endpoint):
    """A row whose body is read line by line, for as long as lines come, and answered so. `serve` is never called."""

    serve_lines: ServeLines = field(kw_only=True)

    @property
    def summary(self) -> str:
        """The first line of the struct's docstring."""
        return (self.params.__doc__ or self.path).strip().splitlines()[0]


class ForeignForms(Endpoint):
    """The row that pages of other sites may post to: what it takes is signed, and for one use. Not for extensions."""


def operation_id(verb: str, path: str) -> str:
    """Verb and path as one word, unique in the table."""
    return verb.lower() + _word(path)


def _word(path: str) -> str:
    return re.sub(r"<(\w+)(:\w+)?>", r"\1", path).replace("/", "_").replace("-", "_").rstrip("_")


@dataclass(frozen=True)
class Stream:
    """One row that never ends by itself: chunks over HTTP, or frames over a websocket.

    `source` gives encoded messages, one JSON object each. A websocket that `also_serves_http` answers a plain GET
    with server-sent events. `narrowed` gives the row as the gate must see it for these params, where what is watched
    is chosen: each choice has its scope.
    """

    path: str
    scope: Scope | None
    source: Source
    params: type[Params] = NoParams
    is_websocket: bool = False
    also_serves_http: bool = False
    at_root: bool = True
    any_scope: tuple[Scope, ...] = ()
    narrowed: "Callable[[Stream, Params], Stream] | None" = None
    verb: ClassVar[str] = "GET"
    method: ClassVar[str] = ""
    changes: ClassVar[bool] = False
    ignores_credential: ClassVar[bool] = False

    def for_params(self, params: Params) -> "Stream":
        """The row as the gate must see it."""
        return self if self.narrowed is None else self.narrowed(self, params)

    @property
    def summary(self) -> str:
        """The first line of the source's docstring."""
        return (self.source.__doc__ or self.path).strip().splitlines()[0]

    @property
    def name(self) -> str:
        """The operation id."""
        return "stream" + _word(self.path)

    @property
    def domain(self) -> str:
        """Which chapter of the documentation it is in."""
        return self.path.strip("/").split("/")[0]


def stamped(params: Params, stamp: Stamp, access: Access) -> Params:
    """The params with the caller's identity written over whatever the client sent."""
    if stamp is Stamp.NOTHING:
        return params
    identity = {"user": access.user, "user_group": access.user_group}
    return structs.replace(params, **{name: identity[name] for name in stamp.value})
