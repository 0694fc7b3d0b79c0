"""Profiles: a server's address with the login for it, in files that nobody else can read.

A secret of a profile goes to the server of that profile only. Where `keyring` is installed and works, secrets are
kept there, and the file says so; `QSCTL_KEYRING=0` forbids it.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from sanic_qserver.client.failures import NotPermitted, WrongUsage

DEFAULT_SERVER = "http://localhost:60610"
SECRETS = ("access_token", "refresh_token", "api_key")
KEYRING_SERVICE = "qsctl"


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One server and what was got by logging in there. Times are POSIX, in seconds."""

    name: str = "default"
    server: str = DEFAULT_SERVER
    ca_file: str = ""
    access_token: str = ""
    access_ends_at: float = 0.0
    refresh_token: str = ""
    api_key: str = ""
    in_keyring: bool = False


def clean_server(address: str) -> str:
    """The address as profiles keep it: with a scheme, without `/api` and slashes at its end."""
    if "://" not in address:
        address = f"http://{address}" if address.startswith(("localhost", "127.")) else f"https://{address}"
    scheme, _, rest = address.partition("://")
    if scheme not in {"http", "https"} or not rest.strip("/"):
        raise WrongUsage(f"{address!r} is not the address of a server", "Use https://host/prefix.")
    return f"{scheme}://{rest.rstrip('/').removesuffix('/api').rstrip('/')}"


class ProfileStore:
    """The files of profiles in one folder, `$XDG_STATE_HOME/qsctl` by default."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def find(cls, environment: Mapping[str, str]) -> "ProfileStore":
        """The folder that the environment means."""
        state = environment.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
        return cls(Path(state) / "qsctl")

    def read_current(self) -> str:
        """The name of the profile in use."""
        try:
            return (self.folder / "current").read_text("utf-8").strip() or "default"
        except OSError:
            return "default"

    def set_current(self, name: str) -> None:
        """Use this profile from now on."""
        self._write("current", name)

    def list_names(self) -> list[str]:
        """The profiles that there are."""
        return sorted(file.stem for file in self.folder.glob("profile-*.json"))

    def names(self) -> list[str]:
        """The names of profiles that there are."""
        return [stem.removeprefix("profile-") for stem in self.list_names()]

    def load(self, name: str) -> Profile | None:
        """The profile with its secrets; None when there is none."""
        try:
            kept = json.loads(self._file(name).read_text("utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise WrongUsage(f"{self._file(name)} cannot be read: {error}", "Log in again: qsctl login.") from None
        known = {field.name for field in fields(Profile)}
        profile = Profile(**{key: value for key, value in kept.items() if key in known})
        return replace(profile, **_from_keyring(name)) if profile.in_keyring else profile

    def save(self, profile: Profile) -> None:
        """Keep it, secrets in the keyring where there is one."""
        kept: dict[str, Any] = asdict(profile)
        secrets = {key: kept[key] for key in SECRETS}
        kept["in_keyring"] = _to_keyring(profile.name, secrets)
        if kept["in_keyring"]:
            kept |= dict.fromkeys(SECRETS, "")
        self._write(self._file(profile.name).name, json.dumps(kept))

    def delete(self, name: str) -> None:
        """Forget it, with its secrets."""
        profile = self.load(name)
        if profile is not None and profile.in_keyring:
            _out_of_keyring(name)
        self._file(name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Hold the profile alone: a refresh token is good once, and two commands may run at the same time."""
        make_private_folder(self.folder)
        with (self.folder / f"{self._file(name).stem}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _file(self, name: str) -> Path:
        if not name or not all(letter.isalnum() or letter in "-_." for letter in name):
            raise WrongUsage(f"{name!r} is not a name for a profile", "Letters, digits, '-', '_' and '.' are allowed.")
        return self.folder / f"profile-{name}.json"

    def _write(self, name: str, text: str) -> None:
        make_private_folder(self.folder)
        write_private(self.folder / name, text)


def make_private_folder(folder: Path) -> None:
    """Make a folder of qsctl's own. Raises WrongUsage."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        hint = "Set XDG_STATE_HOME to a folder that you may write to."
        raise WrongUsage(f"{folder} cannot be made: {error.strerror}", hint) from None


def write_private(file: Path, text: str) -> None:
    """Replace a file at once with one that its owner only can read. Raises WrongUsage."""
    new = file.with_name(f"{file.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(text)
        new.replace(file)
    except OSError as error:
        raise WrongUsage(f"{file} cannot be written: {error.strerror}") from None


def _keyring() -> Any:
    """The module `keyring`, when it is installed and has somewhere to keep secrets."""
    if os.environ.get("QSCTL_KEYRING") == "0":
        return None
    try:
        import keyring
    except ImportError:
        return None
    return keyring if getattr(keyring.get_keyring(), "priority", 0) >= 1 else None


def _from_keyring(name: str) -> dict[str, Any]:
    keyring = _keyring()
    if keyring is None:
        return {}
    try:
        text = keyring.get_password(KEYRING_SERVICE, name)
    except keyring.errors.KeyringError as error:
        hint = "Unlock it; or log in again with QSCTL_KEYRING=0, which keeps the login in a file."
        raise NotPermitted(f"The keyring with the login of profile {name} cannot be read: {error}", hint) from None
    return dict(json.loads(text)) if text else {}


def _out_of_keyring(name: str) -> None:
    if keyring := _keyring():
        with contextlib.suppress(keyring.errors.KeyringError):
            keyring.delete_password(KEYRING_SERVICE, name)


def _to_keyring(name: str, secrets: Mapping[str, str]) -> bool:
    """Whether they are kept there now."""
    keyring = _keyring()
    if keyring is None:
        return False
    try:
        keyring.set_password(KEYRING_SERVICE, name, json.dumps(secrets))
    except keyring.errors.KeyringError:
        return False
    return True
