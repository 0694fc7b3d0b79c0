"""`sanic-qserver hash-password`, `apikey`, `db`: what whoever runs the server does about logins."""

import asyncio
import getpass
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from sanic_qserver.auth.storage.records import INHERIT
from sanic_qserver.cli.options import ConfigFile
from sanic_qserver.config.settings import Config, load
from sanic_qserver.errors import ConfigError
from sanic_qserver.scopes import Scope
from sanic_qserver.structs.identity import Principal


def hash_password(config: ConfigFile = None) -> None:
    """Print the hash of a password, for config.toml.

    It asks for the password, or reads a line from a pipe. The hash goes under [auth.providers.users].
    """
    from sanic_qserver.auth.providers.passwords import build_hasher  # noqa: PLC0415  # argon2, for this command only

    if sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != password:
            raise ConfigError("the two are not the same")
    else:
        password = sys.stdin.readline().rstrip("\n")
    if not password:
        raise ConfigError("an empty password lets nobody in")
    print(build_hasher(load(config).auth.passwords).hash(password))


def apikey(
    action: Annotated[Literal["create", "list", "delete"], typer.Argument(help="What to do.")],
    owner: Annotated[str, typer.Argument(help="A login as provider:name; service:name makes a service account.")],
    scopes: Annotated[
        list[str] | None, typer.Option("--scope", help="What the key may do; repeat it. None: all that its owner may.")
    ] = None,
    note: Annotated[str, typer.Option(help="What the key is for.")] = "",
    days: Annotated[float | None, typer.Option(help="Days until it ends. None: it does not.", min=0)] = None,
    first_eight: Annotated[str, typer.Option(help="With delete: the key's first characters, as listed.")] = "",
    config: ConfigFile = None,
) -> None:
    """Make, list or delete API keys of somebody.

    In the database of the server, which may run meanwhile or not. A new key is printed once.
    """
    provider, _, name = owner.partition(":")
    if not name:
        raise ConfigError(f"'{owner}': write the owner as provider:name, such as staff:alice or service:robot")
    if unknown := set(scopes or ()) - {str(scope) for scope in Scope}:
        raise ConfigError(f"there is no scope {min(unknown)}")
    if action == "delete" and not first_eight:
        raise ConfigError(f"which key? Add --first-eight; 'apikey list {owner}' shows them")
    wanted = tuple(sorted(scopes)) if scopes else (INHERIT,)
    asyncio.run(
        _apikey(
            _with_accounts(config), action, Principal(name=name, provider=provider), wanted, note, days, first_eight
        )
    )


def _with_accounts(file: Path | None) -> Config:
    """The configuration of a server that keeps accounts. Raises ConfigError: else a key would be made for nothing."""
    config = load(file)
    if config.auth.providers or config.database.url:
        return config
    if file is None:
        raise ConfigError("which server's database? Add --config config.toml, or set QSERVER_HTTP_SERVER_CONFIG")
    raise ConfigError(f"{file}: this server keeps no accounts: set [database] url, or [[auth.providers]]")


def _check_provider(config: Config, owner: Principal) -> None:
    """Raise ConfigError for a provider that could never let its owner in."""
    names = ["service", *(one.name for one in config.auth.providers)]
    if owner.provider not in names:
        raise ConfigError(f"there is no provider '{owner.provider}' in the configuration; there are {', '.join(names)}")


async def _apikey(
    config: Config, action: str, owner: Principal, scopes: tuple[str, ...], note: str, days: float | None, first: str
) -> None:
    from sanic_qserver.auth.accounts import Accounts  # noqa: PLC0415  # SQLAlchemy, for this command only
    from sanic_qserver.auth.storage.records import INHERIT  # noqa: PLC0415

    if action != "create" and not await _revision(config):
        raise ConfigError("there is no database yet, and so nobody has a key")
    accounts = Accounts(config, time.time)
    await accounts.open()
    try:
        known = await accounts.store.known(owner)
        if action == "create":
            if known is None:
                _check_provider(config, owner)
            if known is None and owner.provider == "service":
                known = await accounts.store.find_identity(await accounts.store.add_service(owner.name, note))
            known = known or await accounts.store.remember(owner)
            made = await accounts.keys.make(known, scopes, note or None, None if days is None else days * 86_400)
            print(made.secret)
            print("This is shown once. The server keeps a hash of it.", file=sys.stderr)
            return
        if known is None:
            raise ConfigError(f"nobody is known as {owner.provider}:{owner.name}")
        if action == "delete":
            if not await accounts.keys.delete(first, known.principal.uuid):
                raise ConfigError(f"there is no key that begins with '{first}'")
            return
        for key in (await accounts.store.principal(known.principal.uuid)).api_keys:
            allowed = "all that its owner may" if INHERIT in key.scopes else ",".join(key.scopes)
            print(f"{key.first_eight}  {key.expiration_time or 'no end'}  {allowed}  {key.note or ''}")
    finally:
        await accounts.close()


def db(
    action: Annotated[Literal["upgrade", "check", "copy"], typer.Argument(help="What to do.")],
    from_: Annotated[str, typer.Option("--from", help="With copy: the URL of the database to copy from.")] = "",
    config: ConfigFile = None,
) -> None:
    """Update, check or copy the database of logins.

    `upgrade` makes or updates its tables, as the server does when it starts; `check` only looks. `copy` fills a new
    database, [database] url, with all that another one holds: stop the servers first.
    """
    from sanic_qserver.auth.storage.database import HEAD  # noqa: PLC0415  # SQLAlchemy, for this command only

    loaded = _with_accounts(config)
    if action == "copy":
        if not from_:
            raise ConfigError("from which database? Add --from sqlite:///logins.sqlite")
        for name, count in asyncio.run(_copied(loaded, from_)).items():
            print(f"{count:8} {name}")
        return
    found = asyncio.run(_revision(loaded, upgrade=action == "upgrade"))
    print(f"{'OK' if found == HEAD else 'not up to date'}: revision {found or 'none'}, this version has {HEAD}")
    raise typer.Exit(0 if found == HEAD else 1)


async def _copied(config: Config, old_url: str) -> dict[str, int]:
    """How many rows of each table were copied into the configured database."""
    from sanic_qserver.auth.accounts import database_url  # noqa: PLC0415
    from sanic_qserver.auth.storage.copying import copy_all  # noqa: PLC0415
    from sanic_qserver.auth.storage.database import Database  # noqa: PLC0415

    old, new = Database(config.database, old_url), Database(config.database, database_url(config))
    try:
        return await copy_all(old, new)
    finally:
        await old.close()
        await new.close()


async def _revision(config: Config, *, upgrade: bool = False) -> str:
    """The revision of the tables, perhaps after an upgrade; "" when there are none."""
    from sanic_qserver.auth.accounts import database_url  # noqa: PLC0415
    from sanic_qserver.auth.storage.database import Database  # noqa: PLC0415

    database = Database(config.database, database_url(config))
    try:
        if upgrade:
            await database.upgrade()
        return await database.checked_revision()
    finally:
        await database.close()


COMMANDS = (hash_password, apikey, db)
