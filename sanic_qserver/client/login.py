"""Commands about who you are: login, logout, whoami, profiles, API keys."""

import getpass
import sys
from dataclasses import replace
from typing import Annotated, Any

import typer

from sanic_qserver.client.failures import NotPermitted, WrongUsage
from sanic_qserver.client.options import Options, environment, read_api_key
from sanic_qserver.client.output import tell_time
from sanic_qserver.client.profiles import Profile, clean_server
from sanic_qserver.client.runtime import Runtime, get_runtime
from sanic_qserver.client.session import Session

_NO_TERMINAL = "Nobody can be asked here"


def login(
    context: typer.Context,
    address: Annotated[str, typer.Argument(metavar="https://HOST/PREFIX")] = "",
    provider: Annotated[str, typer.Option(help="The way to log in, where there are several.")] = "",
    username: Annotated[str, typer.Option("--username", "-u", help="Else you are asked.")] = "",
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from the input.")] = False,
    device_code: Annotated[bool, typer.Option("--device-code", help="Log in with a browser elsewhere.")] = False,
) -> None:
    """Log in, and use this server from now on.

    The login is kept in a profile; `--profile` names it. With `--api-key-file` the key is kept in place of one.
    """
    run = get_runtime(context)
    name = run.options.profile or run.store.read_current()
    kept = run.store.load(name)
    server = clean_server(address or run.options.server or (kept.server if kept else "") or _from_environment())
    profile = Profile(name=name, server=server, ca_file=run.options.ca_file or (kept.ca_file if kept else ""))
    session = run.open(profile)
    # A key in the environment is there anyway: only one that was named is kept.
    key = read_api_key(Options(api_key_file=run.options.api_key_file), {})
    if key:
        session.profile = replace(profile, api_key=key)
        session.get("/auth/whoami")
        run.store.save(session.profile)
    else:
        way = _choose(session.get("/")["authentication"], provider)
        if way["mode"] == "password" and not device_code:
            session.keep_tokens(_by_password(run, session, way["provider"], username, password_stdin))
        elif way["mode"] == "external":
            from sanic_qserver.client.browser import log_in_by_browser

            session.keep_tokens(log_in_by_browser(run, session, way["provider"], elsewhere=device_code))
        else:
            raise WrongUsage(f"{way['provider']} is not a way to log in with --device-code", "Leave it out.")
    run.store.set_current(name)
    run.out.done(f"Logged in at {server} (profile {name})", {"server": server, "profile": name})


def _from_environment() -> str:
    address = environment().get("QSERVER_HTTP_SERVER_URI", "")
    if not address:
        raise WrongUsage("Which server?", "qsctl login https://host/prefix")
    return address


def _choose(authentication: dict[str, Any], wanted: str) -> dict[str, Any]:
    ways = [way for way in authentication["providers"] if way["mode"] in {"password", "external"}]
    if not ways:
        raise WrongUsage("This server has no logins", "Give its API key: --api-key-file FILE, or QSERVER_API_KEY.")
    names = ", ".join(way["provider"] for way in ways)
    if not wanted and len(ways) > 1:
        raise WrongUsage(f"There are several ways to log in: {names}", "Choose one: --provider NAME.")
    found = next((way for way in ways if wanted in {"", way["provider"]}), None)
    if found is None:
        raise WrongUsage(f"There is no provider {wanted!r}", f"There are: {names}.")
    return dict(found)


def _by_password(run: Runtime, session: Session, provider: str, username: str, from_input: bool) -> dict[str, Any]:
    if not username and not run.can_ask():
        raise WrongUsage(_NO_TERMINAL, "Say --username NAME --password-stdin, or use an API key.")
    username = username or str(typer.prompt("Username", default=getpass.getuser(), err=True))
    if from_input:
        password = sys.stdin.readline().rstrip("\n")
    elif run.can_ask():
        password = getpass.getpass(f"Password of {username}: ")
    else:
        raise WrongUsage(_NO_TERMINAL, "Say --password-stdin, or use an API key.")
    form = {"username": username, "password": password}
    try:
        return session.call("POST", f"/auth/provider/{provider}/token", data=form)
    except NotPermitted as error:
        raise NotPermitted(error.text, "Check name and password.", **error.details) from None


def logout(context: typer.Context) -> None:
    """End the session, and forget the login."""
    run = get_runtime(context)
    name = run.options.profile or run.store.read_current()
    profile = run.store.load(name)
    if profile is None:
        raise WrongUsage(f"There is no profile {name!r}")
    ended = False
    if profile.refresh_token:
        session = run.open(profile)
        try:
            headers = session.authorization()
            ended = session.client.post("/auth/logout", headers=headers).status_code < 400
        except NotPermitted:
            ended = True  # It has ended before.
        except session.errors as error:
            raise session.explain(error, is_change=False) from None
        finally:
            run.store.save(replace(profile, access_token="", refresh_token=""))
    run.store.delete(name)
    text = "Logged out" if ended or not profile.refresh_token else "The login is forgotten here; its session may go on"
    run.out.done(f"{text} (profile {name})", {"profile": name, "session_ended": ended})


def whoami(context: typer.Context) -> None:
    """Show who you are, and what you may do."""
    run = get_runtime(context)
    me = run.session.get("/auth/whoami")
    shown = {
        "server": run.session.profile.server,
        "name": ", ".join(f"{one['provider']}/{one['id']}" for one in me["identities"]) or me["type"],
        "roles": " ".join(me["roles"]),
        "scopes": " ".join(me["scopes"]),
    }
    run.out.fields(me, shown)


def profile_list(context: typer.Context) -> None:
    """List the profiles."""
    run = get_runtime(context)
    current = run.store.read_current()
    rows = []
    for name in run.store.names():
        profile = run.store.load(name)
        if profile is not None:
            kind = "key" if profile.api_key else "login" if profile.refresh_token else "none"
            value = {"name": name, "server": profile.server, "credential": kind, "is_current": name == current}
            rows.append((("*" if name == current else "", name, profile.server, kind), value))
    run.out.table(("", "profile", "server", "credential"), rows)


def profile_use(context: typer.Context, name: str) -> None:
    """Use this profile from now on."""
    run = get_runtime(context)
    if run.store.load(name) is None:
        raise WrongUsage(f"There is no profile {name!r}", "qsctl profile list")
    run.store.set_current(name)
    run.out.done(f"Profile {name} is in use", {"profile": name})


def apikey_create(
    context: typer.Context,
    scope: Annotated[list[str] | None, typer.Option("--scope", help="Repeated; all of yours by default.")] = None,
    days: Annotated[float, typer.Option(help="Until it ends; 0: never.")] = 30,
    note: Annotated[str, typer.Option()] = "",
) -> None:
    """Make an API key, and print it once."""
    run = get_runtime(context)
    body = {"expires_in": days * 86400 or None, "scopes": scope or None, "note": note or None}
    made = run.session.post("/auth/apikey", body)
    run.out.done(made["secret"], made)


def apikey_list(context: typer.Context) -> None:
    """List your API keys."""
    run = get_runtime(context)
    keys = run.session.get("/auth/whoami")["api_keys"]
    columns = ("key", "ends", "last used", "scopes", "note")
    rows = [
        ((key["first_eight"], *map(_tell_when, (key["expiration_time"], key["latest_activity"])),
          " ".join(key["scopes"]), key.get("note")), key)
        for key in keys
    ]  # fmt: skip
    run.out.table(columns, rows)


def _tell_when(text: str | None) -> str:
    """A time of the server, in local time."""
    from datetime import datetime

    return tell_time(datetime.fromisoformat(text).timestamp()) if text else ""


def apikey_delete(context: typer.Context, first_eight: str) -> None:
    """Delete one of your API keys, named by its first eight characters."""
    run = get_runtime(context)
    reply = run.session.call("DELETE", "/auth/apikey", query={"first_eight": first_eight})
    run.out.done(f"The key {first_eight} is deleted", reply)


COMMANDS = (login, logout, whoami)
GROUPS: dict[str, tuple[str, dict[str, Any]]] = {
    "profile": ("Servers and logins that are kept.", {"list": profile_list, "use": profile_use}),
    "apikey": ("Your API keys.", {"create": apikey_create, "list": apikey_list, "delete": apikey_delete}),
}
