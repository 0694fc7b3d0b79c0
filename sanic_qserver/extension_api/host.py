"""The host: what `register` gets, and what it adds things to."""

import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from sanic_qserver.api.call import Call
from sanic_qserver.api.endpoint import Answer, Endpoint, Stream
from sanic_qserver.api.spreadsheets.readers import Read, SheetReader
from sanic_qserver.auth.providers.provider import AuthProvider
from sanic_qserver.config.settings import ExtensionsConfig
from sanic_qserver.errors import ConfigError
from sanic_qserver.extension_api.caller import CallerManager
from sanic_qserver.extension_api.checks import check_row, check_stream
from sanic_qserver.extension_api.contribution import (
    Contribution,
    MountedBlueprint,
    PageLink,
    StartStop,
    StatusListener,
)
from sanic_qserver.extension_api.page_files import build_row
from sanic_qserver.manager.client.client import ManagerClient
from sanic_qserver.middleware.hooks import AfterSubmit, BeforeSubmit, Hook, limited
from sanic_qserver.policy.protocols import AccessPolicy, RatePolicy
from sanic_qserver.scopes import Scope

if TYPE_CHECKING:
    import httpx  # Loaded when a module is there to use it: a tenth of a second at start.
    from sanic.blueprints import Blueprint, BlueprintGroup

Options = TypeVar("Options", bound=msgspec.Struct)
Before = TypeVar("Before", bound=BeforeSubmit)
After = TypeVar("After", bound=AfterSubmit)
Listener = TypeVar("Listener", bound=StatusListener)
Hooked = TypeVar("Hooked", bound=StartStop)


@dataclass
class ExtensionContext:
    """What all hosts of an application share. `http` exists from start to stop."""

    config: ExtensionsConfig
    manager: ManagerClient
    http: "httpx.AsyncClient | None" = None


@dataclass
class ExtensionHost:
    """What an extension gets in `register(host)`. It can add things only there.

    `name` is the module's name. Logs, errors and `/readyz` use it.
    """

    name: str
    context: ExtensionContext
    contribution: Contribution = field(init=False)

    def __post_init__(self) -> None:
        self.contribution = Contribution(self.name)

    @property
    def options(self) -> Mapping[str, Any]:
        """The table `[extensions.options.NAME]` of `config.toml`; empty when there is none."""
        return self.context.config.options.get(self.name, {})

    def options_as(self, struct: type[Options]) -> Options:
        """The options, decoded into a struct of yours. Raises ConfigError naming the option."""
        try:
            return msgspec.convert(dict(self.options), struct)
        except msgspec.ValidationError as error:
            raise ConfigError(f"[extensions.options.{self.name}]: {error}") from None

    @property
    def logger(self) -> logging.Logger:
        """A logger under the server's own."""
        return logging.getLogger(f"sanic_qserver.extensions.{self.name}")

    @property
    def manager(self) -> ManagerClient:
        """The RE Manager client. No permissions are checked. See `manager_as`."""
        return self.context.manager

    def manager_as(self, call: Call) -> CallerManager:
        """RE Manager with the permissions and the name of the caller of this request."""
        return CallerManager(call)

    @property
    def http(self) -> "httpx.AsyncClient":
        """A shared HTTP client for calls to other services. Open between start and stop."""
        if self.context.http is None:
            raise RuntimeError("host.http is open from the start of the server on, not in register()")
        return self.context.http

    def add_endpoint(self, endpoint: Endpoint, *, public: bool = False) -> None:
        """Serve a row like the server's own: with scope, validation, rate limits and documentation.

        A row with `scope=None` admits everybody, and needs `public=True`. Raises ConfigError otherwise.
        """
        self._check_public(endpoint.path, endpoint.scope, is_public=public)
        check_row(endpoint)
        self.contribution.endpoints.append(self._isolate(endpoint))

    def add_stream(self, stream: Stream, *, public: bool = False) -> None:
        """Serve a stream. It is admitted as rows are."""
        self._check_public(stream.path, stream.scope, is_public=public)
        check_stream(stream)
        self.contribution.streams.append(stream)

    def add_blueprint(
        self, blueprint: "Blueprint | BlueprintGroup", *, scope: Scope | None = None, public: bool = False
    ) -> None:
        """Serve a plain Sanic blueprint at its own paths, behind the gate.

        Every route requires `scope`, by default `[extensions] blueprint_scope`. `public=True` admits everybody.
        Handlers find the caller in `request.ctx.access`, and the argument of `manager_as` in `request.ctx.call`.
        """
        if not hasattr(blueprint, "url_prefix"):
            raise ConfigError(
                f"{type(blueprint).__name__} is no Sanic blueprint; routers of other frameworks do not fit"
            )
        if public and scope is not None:
            raise ConfigError(f"Blueprint '{getattr(blueprint, 'name', '')}': public=True, but it requires {scope}")
        asked = None if public else scope or Scope(self.context.config.blueprint_scope)
        self.contribution.blueprints.append(MountedBlueprint(self.name, blueprint, asked))

    def add_page(self, title: str, path: str, scope: Scope, files: Path) -> None:
        """Add a page to the menu of the operator's page, for those who hold `scope`.

        The folder `files` is served at `/api/pages/PATH/`, begins with `index.html`, and is read once. Its scripts and
        styles are files too: nothing inline, nothing from elsewhere. Raises ConfigError when it is no page.
        """
        self.add_endpoint(build_row(path, scope, files))
        self.contribution.pages.append(PageLink(title, path, scope))

    def add_auth_provider(self, provider: AuthProvider) -> None:
        """Recognise another kind of credential. The server's own providers are asked first."""
        if not isinstance(provider, AuthProvider):
            raise ConfigError(f"{type(provider).__name__} is no AuthProvider: it has no identify()")
        self.contribution.providers.append(provider)

    def add_access_policy(self, make: Callable[[AccessPolicy], AccessPolicy]) -> None:
        """Replace or refine the access policy.

        `make` gets the policy in force and returns the one to use, often a wrapper. When it fails, the server does
        not start: without the policy it might admit too much. Policies of several extensions wrap each other in
        registration order.
        """
        self.contribution.access_policies.append(make)

    def add_rate_policy(self, make: Callable[[RatePolicy], RatePolicy]) -> None:
        """Replace or refine the rate policy. As `add_access_policy`."""
        self.contribution.rate_policies.append(make)

    def add_spreadsheet_reader(
        self, read: Read, *, endings: Sequence[str] = (), data_types: Sequence[str] = ()
    ) -> None:
        """Read uploaded spreadsheets with these endings (`.xlsx`) and of these values of `data_type`; none named: all.

        `read` gives items, or None to decline. Plain functions run in threads. Readers are asked in the order of
        registration, before the default one.
        """
        wanted = tuple(ending.lower() for ending in endings)
        self.contribution.sheet_readers.append(SheetReader(self.name, read, wanted, tuple(data_types)))

    def before_submit(self, hook: Before) -> Before:
        """Call `hook` with every item before RE Manager gets it: change it, or raise Refusal. Works as a decorator."""
        self.contribution.before_submit.append(Hook(self.name, hook))
        return hook

    def after_submit(self, hook: After) -> After:
        """Call `hook` with RE Manager's reply to every submission. Works as a decorator."""
        self.contribution.after_submit.append(Hook(self.name, hook))
        return hook

    def on_status(self, listener: Listener) -> Listener:
        """Call `listener` with RE Manager's status whenever it changes. Works as a decorator."""
        self.contribution.on_status.append(Hook(self.name, listener))
        return listener

    def on_start(self, start: Hooked) -> Hooked:
        """Call `start` when the server starts, before it listens. Works as a decorator."""
        self.contribution.on_start.append(Hook(self.name, start))
        return start

    def on_stop(self, stop: Hooked) -> Hooked:
        """Call `stop` when the server stops. Works as a decorator."""
        self.contribution.on_stop.append(Hook(self.name, stop))
        return stop

    def _isolate(self, endpoint: Endpoint) -> Endpoint:
        """The row with a time limit; what it raises fails only its own request."""
        hook = Hook(self.name, endpoint.serve)
        limit_s = self.context.config.endpoint_timeout_s

        @functools.wraps(endpoint.serve)
        async def serve(call: Call) -> bytes | Answer:
            answer = await limited(hook, limit_s, functools.partial(endpoint.serve, call))
            if not isinstance(answer, (bytes, Answer)):
                raise hook.failed(f"returned {type(answer).__name__}, not bytes or Answer: see json_bytes")
            return answer

        return dataclasses.replace(endpoint, serve=serve)

    def _check_public(self, path: str, scope: Scope | None, *, is_public: bool) -> None:
        if scope is None and not is_public:
            raise ConfigError(f"{path}: a row without a scope admits everybody; say public=True, or give it a scope")
        if scope is not None and is_public:
            raise ConfigError(f"{path}: public=True, but the row requires {scope}")
