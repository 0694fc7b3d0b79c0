"""What one extension adds: all of it is taken once `register` has returned, or nothing."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sanic_qserver.api.endpoint import Endpoint, Stream
from sanic_qserver.api.spreadsheets.readers import SheetReader
from sanic_qserver.auth.providers.provider import AuthProvider
from sanic_qserver.middleware.hooks import Hook
from sanic_qserver.policy.protocols import AccessPolicy, RatePolicy
from sanic_qserver.scopes import Scope

if TYPE_CHECKING:
    from sanic.blueprints import Blueprint, BlueprintGroup

StatusListener = Callable[[dict[str, Any]], Awaitable[None] | None]
StartStop = Callable[[], Awaitable[None] | None]


@dataclass(frozen=True)
class MountedBlueprint:
    """A plain Sanic blueprint, the module it came from, and the scope that its routes ask for (None: public)."""

    module: str
    blueprint: "Blueprint | BlueprintGroup"
    scope: Scope | None


@dataclass(frozen=True)
class PageLink:
    """A page of a module's own: its title and folder in the menu of the operator's page, and who may see it."""

    title: str
    path: str
    scope: Scope


@dataclass
class Contribution:
    """Everything that one extension added, in registration order."""

    module: str
    endpoints: list[Endpoint] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    blueprints: list[MountedBlueprint] = field(default_factory=list)
    pages: list[PageLink] = field(default_factory=list)
    providers: list[AuthProvider] = field(default_factory=list)
    access_policies: list[Callable[[AccessPolicy], AccessPolicy]] = field(default_factory=list)
    rate_policies: list[Callable[[RatePolicy], RatePolicy]] = field(default_factory=list)
    sheet_readers: list[SheetReader] = field(default_factory=list)
    before_submit: list[Hook] = field(default_factory=list)
    after_submit: list[Hook] = field(default_factory=list)
    on_status: list[Hook] = field(default_factory=list)
    on_start: list[Hook] = field(default_factory=list)
    on_stop: list[Hook] = field(default_factory=list)
