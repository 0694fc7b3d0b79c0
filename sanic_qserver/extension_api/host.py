"""The host: what a custom module is handed, and what it adds things to."""

import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
from sanic_qserver.extension_api.contribution import Contribution, MountedBlueprint, StartStop, StatusListener
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
class Surroundings:
    """What all hosts of an application share. `http` is there from start to stop."""

    config: ExtensionsConfig
    manager: ManagerClient
    http: "httpx.AsyncClient | None" = None


@dataclass
class ExtensionHost:
    """What a custom module gets in `register(host)`. Registering is possible there only.

    `name` is the module's name; what it adds is known by it in logs, errors and `/readyz`.
    """

    name: str
    surroundings: Surroundings
    contribution: Contribution = field(init=False)

    def __post_init__(self) -> None:
        self.contribution = Contribution(self.name)

    @property
    def options(self) -> Mapping[str, Any]:
        """The table `[extensions.options.NAME]` of `config.toml`; empty when there is none."""
        return self.surroundings.config.options.get(self.name, {})

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
        """RE Manager as the server itself reaches it: nobody's permissions are checked. See `manager_as`."""
        return self.surroundings.manager

    def manager_as(self, call: Call) -> CallerManager:
        """RE Manager with the permissions and the name of the caller of this request."""
        return CallerManager(call)

    @property
    def http(self) -> "httpx.AsyncClient":
        """A shared HTTP client for calls to other services. Open between start and stop."""
        if self.surroundings.http is None:
            raise RuntimeError("host.http is open from the start of the server on, not in register()")
        return self.surroundings.http

    def add_endpoint(self, endpoint: Endpoint, *, public: bool = False) -> None:
        """Serve a row: with its scope, its struct, rate limits and documentation, as the server's own.

        A row with `scope=None` lets everybody in: that must be said with `public=True`. Raises ConfigError otherwise.
        """
        self._refuse_unsaid(endpoint.path, endpoint.scope, is_public=public)
        check_row(endpoint)
        self.contribution.endpoints.append(self._contained(endpoint))

    def add_stream(self, stream: Stream, *, public: bool = False) -> None:
        """Serve a stream row, admitted as `add_endpoint`'s rows are."""
        self._refuse_unsaid(stream.path, stream.scope, is_public=public)
        check_stream(stream)
        self.contribution.streams.append(stream)

    def add_blueprint(
        self, blueprint: "Blueprint | BlueprintGroup", *, scope: Scope | None = None, public: bool = False
    ) -> None:
        """Serve a plain Sanic blueprint at its own paths, behind the gate.

        Every route asks for `scope`, by default `[extensions] blueprint_scope`. `public=True` lets everybody in.
        Handlers find the caller in `request.ctx.access`, and in `request.ctx.call` what `manager_as` takes.
        """
        if not hasattr(blueprint, "url_prefix"):
            raise ConfigError(
                f"{type(blueprint).__name__} is no Sanic blueprint; routers of other frameworks do not fit"
            )
        if public and scope is not None:
            raise ConfigError(f"Blueprint '{getattr(blueprint, 'name', '')}': public=True, but it asks for {scope}")
        asked = None if public else scope or Scope(self.surroundings.config.blueprint_scope)
        self.contribution.blueprints.append(MountedBlueprint(self.name, blueprint, asked))

    def add_auth_provider(self, provider: AuthProvider) -> None:
        """Recognise one more kind of credential. It is asked after the server's own providers."""
        if not isinstance(provider, AuthProvider):
            raise ConfigError(f"{type(provider).__name__} is no AuthProvider: it has no identify()")
        self.contribution.providers.append(provider)

    def add_access_policy(self, make: Callable[[AccessPolicy], AccessPolicy]) -> None:
        """Decide what principals may do.

        `make` gets the policy in force and returns the one to use: a wrapper that refines its decisions, or one of
        its own. One that fails stops the start: without it the server might let too much pass. Policies of several
        modules wrap each other in the order of registration.
        """
        self.contribution.access_policies.append(make)

    def add_rate_policy(self, make: Callable[[RatePolicy], RatePolicy]) -> None:
        """Decide how often principals may do it. As `add_access_policy`."""
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
        """See every item before RE Manager does; change it, or refuse it with Refusal. May be used as a decorator."""
        self.contribution.before_submit.append(Hook(self.name, hook))
        return hook

    def after_submit(self, hook: After) -> After:
        """See RE Manager's reply to every submission. May be used as a decorator."""
        self.contribution.after_submit.append(Hook(self.name, hook))
        return hook

    def on_status(self, listener: Listener) -> Listener:
        """Be called with RE Manager's status when it has changed. May be used as a decorator."""
        self.contribution.on_status.append(Hook(self.name, listener))
        return listener

    def on_start(self, start: Hooked) -> Hooked:
        """Be called when the server starts, before it listens. May be used as a decorator."""
        self.contribution.on_start.append(Hook(self.name, start))
        return start

    def on_stop(self, stop: Hooked) -> Hooked:
        """Be called when the server stops. May be used as a decorator."""
        self.contribution.on_stop.append(Hook(self.name, stop))
        return stop

    def _contained(self, endpoint: Endpoint) -> Endpoint:
        """The row with its serving function under a time limit; what it raises fails its own request only."""
        hook = Hook(self.name, endpoint.serve)
        limit_s = self.surroundings.config.endpoint_timeout_s

        @functools.wraps(endpoint.serve)
        async def serve(call: Call) -> bytes | Answer:
            answer = await limited(hook, limit_s, functools.partial(endpoint.serve, call))
            if not isinstance(answer, (bytes, Answer)):
                raise hook.failed(f"returned {type(answer).__name__}, not bytes or Answer: see json_bytes")
            return answer

        return dataclasses.replace(endpoint, serve=serve)

    def _refuse_unsaid(self, path: str, scope: Scope | None, *, is_public: bool) -> None:
        if scope is None and not is_public:
            raise ConfigError(f"{path}: a row without a scope lets everybody in; say public=True, or give it a scope")
        if scope is not None and is_public:
            raise ConfigError(f"{path}: public=True, but the row asks for {scope}")
