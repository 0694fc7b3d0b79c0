"""What a command is given: the common options, where it prints to, and the session, opened when it is first needed."""

import sys
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import typer

from sanic_qserver.client.failures import WrongUsage
from sanic_qserver.client.options import Options, choose_profile, read_secret_file
from sanic_qserver.client.output import Output
from sanic_qserver.client.profiles import Profile, ProfileStore
from sanic_qserver.client.session import Session


class Runtime:
    """One run of `qsctl`."""

    def __init__(self, options: Options, environment: Mapping[str, str]) -> None:
        self.options, self.environment = options, environment
        self.out = Output(is_json=options.is_json)
        self.store = ProfileStore.find(environment)
        self._opened: list[Session] = []

    def open(self, profile: Profile) -> Session:
        """A session with this profile, closed when the command ends."""
        lock_key = read_secret_file(self.options.lock_key_file) if self.options.lock_key_file else ""
        self._opened.append(Session(profile, self.store, self.options.timeout_s, lock_key))
        return self._opened[-1]

    def close(self) -> None:
        """End all connections."""
        for session in self._opened:
            session.close()

    @cached_property
    def session(self) -> Session:
        """The server that the options mean, with the login for it."""
        return self.open(choose_profile(self.options, self.environment, self.store))

    def change(self, path: str, body: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """Call something that a lock may guard: the key of the lock goes along."""
        sent = {name: value for name, value in (body or {}).items() if value is not None}
        if self.session.lock_key:
            sent["lock_key"] = self.session.lock_key
        return self.session.post(path, sent, **more)

    def command(self, path: str, done: str, body: Mapping[str, Any] | None = None) -> None:
        """A change whose reply has nothing to show."""
        self.out.done(done, self.change(path, body))

    def can_ask(self) -> bool:
        """Whether somebody is there to be asked."""
        return sys.stdin.isatty() and self.out.err.isatty()

    def confirm(self, question: str, *, is_sure: bool) -> None:
        """Ask before what cannot be undone; `--yes` is the answer of programs."""
        if is_sure:
            return
        if not self.can_ask():
            raise WrongUsage(f"{question} Nobody can be asked here", "Say --yes.")
        if not typer.confirm(question, err=True):
            raise WrongUsage("Nothing was done")


def get_runtime(context: typer.Context) -> Runtime:
    """The run that a command belongs to."""
    runtime = context.find_object(Runtime)
    assert runtime is not None  # noqa: S101  # main gives one
    return runtime
