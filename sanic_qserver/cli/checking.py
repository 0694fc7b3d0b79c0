"""What `sanic-qserver check` looks at beyond what the server itself refuses. Nothing is written, as root neither."""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from sanic_qserver.app import create_app
from sanic_qserver.config.logins import Dictionary
from sanic_qserver.config.replicas import refuse_unshared
from sanic_qserver.config.settings import Config
from sanic_qserver.errors import ConfigError, NotAuthenticated
from sanic_qserver.http.application import App
from sanic_qserver.policy.access.permissions import Permissions
from sanic_qserver.policy.access.roles import words
from sanic_qserver.structs.identity import Principal


def app_to_look_at(config: Config, name: str) -> App:
    """An application that is never served: it makes neither the secret of tokens nor a file. Raises ConfigError."""
    refuse_unshared(config)
    auth, audit = config.auth, config.audit
    if not auth.secret_keys and (auth.providers or config.database.url):
        from sanic_qserver.auth.accounts import secret_file  # noqa: PLC0415  # SQLAlchemy, for configurations with it

        _check_can_be_made(secret_file(config), "[auth] secret_keys: none given, and")
        auth = msgspec.structs.replace(auth, secret_keys=("of no use: nothing is signed with it",))
    if audit.file:
        _check_can_be_made(config.folder / audit.file, "[audit] file:")
        audit = msgspec.structs.replace(audit, file="")
    return create_app(msgspec.structs.replace(config, auth=auth, audit=audit), name=name)


def collect_warnings(config: Config, app: App) -> Iterator[str]:
    """What would not work as it was meant."""
    yield from app.ctx.services.warnings
    for provider in config.auth.providers:
        if isinstance(provider, Dictionary):
            yield from _users_without_roles(provider, app)
    permissions = getattr(app.ctx.policies.access, "permissions", None)
    if config.auth.providers and isinstance(permissions, Permissions) and not _gives_roles(permissions):
        yield (
            f"{permissions.document.source}: people can log in, and nobody has a role: give some under users, groups, "
            "claims or default"
        )


def _users_without_roles(provider: Dictionary, app: App) -> Iterator[str]:
    """All of a provider's users, when none of them may enter."""
    for name, user in provider.users.items():
        groups = () if isinstance(user, str) else user.groups
        try:
            app.ctx.services.logins.access_of(Principal(name=name, provider=provider.name, groups=groups))
        except NotAuthenticated:
            continue
        return
    names = ", ".join(sorted(provider.users)[:5]) or "it has no users"
    yield f"[[auth.providers]] {provider.name}: none of its users may enter: the policy gives them no role ({names})"


def _gives_roles(permissions: Permissions) -> bool:
    file = permissions.file
    grants = [*(user for user in file.users.values() if user is not None), *file.groups.values(), *file.claims]
    return bool(words(file.default.roles)) or any(words(grant.roles) for grant in grants)


def _check_can_be_made(file: Path, what: str) -> None:
    """Raise ConfigError when a file can be neither read nor made by whoever asks."""
    if file.exists():
        if not os.access(file, os.R_OK):
            raise ConfigError(f"{what} {file} cannot be read")
    elif not os.access(file.parent, os.W_OK):
        raise ConfigError(f"{what} {file} cannot be made: {file.parent} is not there, or not writable")
