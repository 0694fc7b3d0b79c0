"""People from an access server of the facility, fetched again and again; roles and all else as without it.

The rules:
1. An answer is taken whole or not at all. One that is late, too large, not of the form or not 200 changes nothing.
   A role that the file does not know is left out, and told: it would give nothing.
2. The period varies by a fifth, so that many servers do not ask at once. After a failure the next try comes sooner.
3. When no answer came for `expiration_s`, everybody but the holder of the single-user key and the public is out,
   by a clock that nobody can set.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
from msgspec import Struct

from sanic_qserver.config.settings import AccessServerConfig
from sanic_qserver.errors import ConfigError, NotAuthenticated
from sanic_qserver.policy.access.permissions import NOT_AUTHORIZED, Permissions
from sanic_qserver.policy.access.permissions_file import User
from sanic_qserver.policy.access.sources import ConfigPermissions, FilePermissions
from sanic_qserver.policy.access.windows import Clock, uptime
from sanic_qserver.policy.files.hot_reload import ReloadedFile
from sanic_qserver.reloading import StandingWarning
from sanic_qserver.structs.identity import PUBLIC, Access, Principal
from sanic_qserver.tasks import end_tasks

log = logging.getLogger("sanic_qserver.policy")

MAX_BYTES = 10_000_000
_LONGEST_NAME = 300


class _Person(Struct, frozen=True):
    """What is known of somebody. Whatever else the server says is not looked at."""

    email: Any = None
    displayed_name: Any = None
    first_name: Any = None
    last_name: Any = None


_decode = msgspec.json.Decoder(dict[str, dict[str, _Person | None]]).decode


class AnswerRefused(Exception):
    """The access server's answer cannot be used; the text says why."""


class AccessServer:
    """The access policy whose people come from a server."""

    def __init__(
        self,
        config: AccessServerConfig,
        base: FilePermissions | ConfigPermissions,
        warnings: list[str],
        now: Callable[[], float] = uptime,
    ) -> None:
        """Raises ConfigError when the settings are not complete, or `base` lists people too."""
        if not config.url.startswith(("http://", "https://")) or not config.instrument:
            raise ConfigError("[policy.access_server]: url (http:// or https://) and instrument are needed")
        if any(user is not None for user in base.permissions.file.users.values()):
            raise ConfigError(
                f"{base.permissions.document.source}: users: with [policy.access_server] people come from there"
            )
        self.config = config
        self._base = base
        self._warning = StandingWarning(warnings, log)
        self._now = now
        self._people: dict[str, User] = {}
        self._fetched_at: float | None = None
        self._version = 1
        self._worked_out: tuple[Permissions, Permissions] | None = None
        self._task: asyncio.Task[None] | None = None
        self._client: httpx.AsyncClient | None = None

    @property
    def version(self) -> int:
        """Grows with each change of the file or of the people."""
        return self._version + self._base.version

    @property
    def clock(self) -> Clock:
        """The clock of validity windows."""
        return self._base.clock

    @property
    def watched(self) -> ReloadedFile[Permissions] | None:
        """The file of roles, if they come from a file."""
        return self._base.watched

    @property
    def is_expired(self) -> bool:
        """Whether what is known of people is too old to be used."""
        return self._fetched_at is None or self._now() - self._fetched_at > self.config.expires_after_s

    @property
    def permissions(self) -> Permissions:
        """The file's permissions with the server's people."""
        base = self._base.permissions
        if self._worked_out is None or self._worked_out[0] is not base:
            self._worked_out = (base, self._with_people(base))
        return self._worked_out[1]

    def access_of(self, principal: Principal) -> Access:
        """What the principal may do now. Raises NotAuthenticated for one who may not enter."""
        if principal.provider != PUBLIC.provider and self.is_expired:
            raise NotAuthenticated(f"{NOT_AUTHORIZED}: the access server has not answered for too long")
        return self.permissions.access_of(principal, self.clock)

    async def start(self) -> None:
        """Begin to fetch. Until the first answer nobody may enter."""
        self._client = httpx.AsyncClient(timeout=self.config.timeout_s, follow_redirects=False)
        self._task = asyncio.create_task(self._run(), name="access server")

    async def stop(self) -> None:
        """End."""
        await end_tasks(self._task)
        if self._client is not None:
            await self._client.aclose()

    async def reload(self) -> None:
        """Fetch now."""
        await self.update()

    async def update(self) -> bool:
        """Fetch once. Returns whether the answer was taken. Never raises for what the server does."""
        try:
            async with asyncio.timeout(self.config.timeout_s):
                people = _people(await self._fetch())
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, AnswerRefused) as error:
            what = str(error) or type(error).__name__
            state = "nobody may enter" if self.is_expired else "what is known stays in force for now"
            self._warning.say(f"The access server {self.config.url} gave no usable answer ({what}): {state}")
            return False
        if people != self._people or self._fetched_at is None:
            self._people = people
            self._worked_out = None
            self._version += 1
        self._fetched_at = self._now()
        self._warning.say("")
        return True

    async def _fetch(self) -> bytes:
        client = self._client
        if client is None:
            raise AnswerRefused("not started")
        url = (
            f"{self.config.url.rstrip('/')}/instrument/{quote(self.config.instrument.lower(), safe='')}/qserver/access"
        )
        headers = {"Authorization": f"Bearer {self.config.token}"} if self.config.token else {}
        async with client.stream("GET", url, headers=headers) as response:
            if response.status_code != 200:
                raise AnswerRefused(f"status {response.status_code}")
            body = b""
            async for part in response.aiter_bytes():
                body += part
                if len(body) > MAX_BYTES:
                    raise AnswerRefused(f"more than {MAX_BYTES} bytes")
        return body

    async def _run(self) -> None:
        while True:
            period_s = self.config.update_period_s
            if not await self.update():
                period_s = max(min(1.0, period_s), period_s / 10)
            await asyncio.sleep(period_s * random.uniform(0.8, 1.2))  # noqa: S311  # not a secret

    def _with_people(self, base: Permissions) -> Permissions:
        people: dict[str, User | None] = {}
        unknown: set[str] = set()
        for name, user in self._people.items():
            roles = tuple(role for role in user.roles or () if role in base.scopes)
            unknown.update(set(user.roles or ()) - set(roles))
            people[name] = msgspec.structs.replace(user, roles=roles)
        if unknown:
            log.warning("The access server gives roles that the permissions file does not know: %s", sorted(unknown))
        people.update(dict.fromkeys(base.shut_out))
        return base.with_users(people)


def _people(body: bytes) -> dict[str, User]:
    """The people of an answer: role -> login -> what is known. Raises AnswerRefused."""
    try:
        answer = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise AnswerRefused(f"not an answer about people: {error}") from None
    roles: dict[str, list[str]] = {}
    known: dict[str, _Person] = {}
    for role, people in answer.items():
        for name, person in people.items():
            if not name or len(name) > _LONGEST_NAME:
                raise AnswerRefused("a login is empty or too long")
            roles.setdefault(name, []).append(role)
            known.setdefault(name, person or _Person())
    return {
        name: User(roles=tuple(given), displayed_name=_displayed(known[name]), email=_text(known[name].email))
        for name, given in roles.items()
    }


def _displayed(person: _Person) -> str | None:
    if name := _text(person.displayed_name):
        return name
    return " ".join(filter(None, (_text(person.first_name), _text(person.last_name)))) or None


def _text(value: Any) -> str | None:
    return value.strip()[:_LONGEST_NAME] or None if isinstance(value, str) else None
