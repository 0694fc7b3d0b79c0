"""Loads extensions and collects what they add. One that fails adds nothing, and stops the start: it may be a rule.

With `[extensions] required = false` the server starts without it, as the reference server does, and reports it. So it
does for plain blueprints that the environment or an old YAML file names: they add routes, and no rules.
"""

import functools
import inspect
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, TypeVar

from sanic_qserver.api.endpoint import Endpoint, Stream
from sanic_qserver.api.spreadsheets.readers import SpreadsheetFile
from sanic_qserver.auth.providers.provider import AuthProvider
from sanic_qserver.config.settings import Config
from sanic_qserver.errors import ConfigError
from sanic_qserver.extension_api.contribution import Contribution
from sanic_qserver.extension_api.host import ExtensionContext, ExtensionHost
from sanic_qserver.extensions.names import Source, describe, import_module, make_importable, sources
from sanic_qserver.extensions.paths import Claims
from sanic_qserver.manager.client.client import ManagerClient
from sanic_qserver.middleware.hooks import Hook, limited
from sanic_qserver.policy.protocols import AccessPolicy, RatePolicy
from sanic_qserver.scopes import Scope
from sanic_qserver.structs.identity import Credential, Principal

Policy = TypeVar("Policy", AccessPolicy, RatePolicy)

log = logging.getLogger("sanic_qserver.extensions")


class ContainedProvider:
    """A login provider of an extension with a time limit. When it fails, only its own request fails (502)."""

    def __init__(self, module: str, provider: AuthProvider, limit_s: float) -> None:
        self.module = module
        self.provider = provider
        self.limit_s = limit_s
        self.kinds = getattr(provider, "kinds", None)
        self.sees_only_value = getattr(provider, "sees_only_value", False)
        self._hook = Hook(module, provider.identify)

    async def identify(self, credential: Credential) -> Principal | None:
        """Who sent this."""
        result = await limited(self._hook, self.limit_s, functools.partial(self.provider.identify, credential))
        if result is not None and not isinstance(result, Principal):
            raise self._hook.failed(f"returned {type(result).__name__}, not a Principal")
        return result


@dataclass
class Extensions:
    """The loaded extensions. `failures` says which could not be loaded, and why."""

    context: ExtensionContext
    contributions: list[Contribution] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)

    @property
    def modules(self) -> list[str]:
        """The names of the loaded modules."""
        return [contribution.module for contribution in self.contributions]

    def all(self, kind: str) -> list[Any]:
        """All contributions of one kind (a field of Contribution), in loading order."""
        return [one for contribution in self.contributions for one in getattr(contribution, kind)]

    def providers(self) -> list[AuthProvider]:
        """The login providers, each isolated from the others."""
        return [
            ContainedProvider(contribution.module, provider, self.context.config.hook_timeout_s)
            for contribution in self.contributions
            for provider in contribution.providers
        ]

    def access_policy(self, policy: AccessPolicy) -> AccessPolicy:
        """The access policy, wrapped by those of extensions."""
        return _wrapped(self, "access_policies", policy)

    def rate_policy(self, policy: RatePolicy) -> RatePolicy:
        """The rate policy, wrapped by those of extensions."""
        return _wrapped(self, "rate_policies", policy)


def _wrapped(loaded: Extensions, kind: str, policy: Policy) -> Policy:
    """Each module's policy around the one before it.

    Raises ConfigError even when extensions are not required: without the policy the server might admit too much.
    """
    for contribution in loaded.contributions:
        for make in getattr(contribution, kind):
            try:
                policy = make(policy)
            except Exception as error:
                raise ConfigError(
                    f"Extension '{contribution.module}' failed in its policy: {describe(error)}"
                ) from error
    return policy


def load_extensions(
    config: Config, manager: ManagerClient, endpoints: Sequence[Endpoint], streams: Sequence[Stream]
) -> Extensions:
    """Load all configured extensions. Raises ConfigError for a failure of one that is required."""
    settings = config.extensions
    if settings.blueprint_scope not in set(Scope):
        raise ConfigError(f"[extensions] blueprint_scope: there is no scope '{settings.blueprint_scope}'")
    loaded = Extensions(ExtensionContext(settings, manager))
    claims = Claims.start_with_server(endpoints, streams)
    make_importable(config)
    for source in sources(config):
        try:
            module = import_module(source.module)
            contribution = _register(source, module, loaded.context)
            claims.add(contribution)
        except ConfigError as error:
            is_required = not source.is_blueprint if settings.required is None else settings.required
            _fail(loaded, source, error, is_required=is_required)
            continue
        loaded.contributions.append(contribution)
        loaded.files[source.module] = getattr(module, "__file__", None) or ""
        log.info("Extension '%s' is loaded", source.name)
    return loaded


def _fail(loaded: Extensions, source: Source, error: ConfigError, *, is_required: bool) -> None:
    if is_required:
        told = f"{error}. The server starts without it only when [extensions] required = false"
        raise ConfigError(told) from error
    log.error("%s. The server runs without '%s'.", error, source.name, exc_info=error.__cause__)
    loaded.failures.append(f"extension '{source.name}' is not loaded: {error}")


def _register(source: Source, module: ModuleType, context: ExtensionContext) -> Contribution:
    host = ExtensionHost(source.module, context)
    try:
        _registration(source, module)(host)
    except ConfigError as error:
        raise ConfigError(f"Extension '{source.name}': {error}") from error
    except (Exception, SystemExit) as error:  # third-party code
        raise ConfigError(f"Extension '{source.name}' failed in register(): {describe(error)}") from error
    return host.contribution


def _registration(source: Source, module: ModuleType) -> Callable[[ExtensionHost], None]:
    """The module's `register`, or one for a module written for bluesky-httpserver."""
    if source.is_blueprint:
        return lambda host: host.add_blueprint(_attribute(module, source.attribute))
    if source.attribute:
        register = _attribute(module, source.attribute)
    elif hasattr(module, "register"):
        register = module.register
    else:
        return lambda host: _register_bare(module, host)
    if not callable(register) or inspect.iscoroutinefunction(register):
        raise ConfigError("register must be a plain function, called with the host")
    return register  # type: ignore[no-any-return]


def _attribute(module: ModuleType, name: str) -> Any:
    if not hasattr(module, name):
        raise ConfigError(f"module '{module.__name__}' has no '{name}'")
    return getattr(module, name)


def _register_bare(module: ModuleType, host: ExtensionHost) -> None:
    convert = getattr(module, "spreadsheet_to_plan_list", None)
    blueprints = list(getattr(module, "blueprints", ()))
    if (one := getattr(module, "blueprint", None)) is not None and one not in blueprints:
        blueprints.append(one)
    for blueprint in blueprints:
        host.add_blueprint(blueprint)
    if convert is not None:
        host.add_spreadsheet_reader(_adapt_reader(convert))
    elif not blueprints:
        raise ConfigError("the module has neither register(host) nor blueprint(s) nor spreadsheet_to_plan_list()")


def _adapt_reader(convert: Callable[..., Any]) -> Callable[[SpreadsheetFile], Any]:
    """A reader for a function written for bluesky-httpserver. It is called by keyword; None declines."""

    def read(file: SpreadsheetFile) -> Any:
        return convert(
            spreadsheet_file=file.open(), file_name=file.name, data_type=file.data_type or None, user=file.user
        )

    return read
