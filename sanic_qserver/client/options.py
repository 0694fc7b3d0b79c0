"""The options that every command takes, wherever they stand: which server, which login, which form of output."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sanic_qserver.client.failures import WrongUsage
from sanic_qserver.client.profiles import Profile, ProfileStore, clean_server

WITH_VALUE = ("--server", "--profile", "--ca-file", "--api-key-file", "--timeout", "--lock-key-file")
FLAGS = ("--json",)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What was said on the command line for all commands."""

    server: str = ""
    profile: str = ""
    ca_file: str = ""
    api_key_file: str = ""
    lock_key_file: str = ""
    timeout_s: float = 60.0
    is_json: bool = False


def hoist(arguments: Sequence[str]) -> tuple[Options, list[str]]:
    """Take the common options out of the arguments, up to `--`; the rest is for the command."""
    found: dict[str, str] = {}
    rest: list[str] = []
    is_json = False
    words = iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        if word == "--":
            rest += [word, *words]
        elif word in FLAGS:
            is_json = True
        elif name in WITH_VALUE:
            given = value if equals else next(words, None)
            if given is None:
                raise WrongUsage(f"{name} needs a value")
            found[name] = given
        else:
            rest.append(word)
    return (
        Options(
            server=found.get("--server", ""),
            profile=found.get("--profile", ""),
            ca_file=found.get("--ca-file", ""),
            api_key_file=found.get("--api-key-file", ""),
            lock_key_file=found.get("--lock-key-file", ""),
            timeout_s=_read_seconds(found.get("--timeout", "60")),
            is_json=is_json,
        ),
        rest,
    )


def _read_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds < 1e6:
        raise WrongUsage(f"--timeout {text}: not a number of seconds")
    return seconds


def choose_profile(options: Options, environment: Mapping[str, str], store: ProfileStore) -> Profile:
    """The server and the login to use.

    `--server` wins, then `--profile`, `QSERVER_HTTP_SERVER_URI`, and the profile in use. A login is used for the
    server of its profile only. An API key of `--api-key-file` or the environment takes the login's place.
    """
    name = options.profile or store.read_current()
    kept = store.load(name)
    if kept is None and options.profile:
        raise WrongUsage(f"There is no profile {name!r}", "Make it: qsctl login https://… --profile NAME.")
    address = options.server or ("" if options.profile else environment.get("QSERVER_HTTP_SERVER_URI", ""))
    if address:
        server = clean_server(address)
        profile = kept if kept is not None and kept.server == server else _find_login(store, server)
        profile = profile or Profile(name=name, server=server)
    else:
        profile = kept or Profile(name=name)
    if options.ca_file:
        profile = replace(profile, ca_file=options.ca_file)
    if key := read_api_key(options, environment):
        profile = replace(profile, api_key=key, access_token="", refresh_token="")
    return profile


def _find_login(store: ProfileStore, server: str) -> Profile | None:
    loaded = (store.load(name) for name in store.names())
    return next((profile for profile in loaded if profile is not None and profile.server == server), None)


def read_api_key(options: Options, environment: Mapping[str, str]) -> str:
    """The API key that was given beside a login; empty for none."""
    if options.api_key_file:
        return read_secret_file(options.api_key_file)
    return environment.get("QSERVER_API_KEY") or environment.get("QSERVER_HTTP_SERVER_API_KEY") or ""


def read_secret_file(path: str) -> str:
    """What a file holds, without spaces around."""
    try:
        text = Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUsage(f"{path} cannot be read: {error}") from None
    if not text:
        raise WrongUsage(f"{path} is empty")
    return text


def environment() -> Mapping[str, str]:
    """The process's environment."""
    return os.environ
