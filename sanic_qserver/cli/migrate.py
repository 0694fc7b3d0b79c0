"""`sanic-qserver migrate`: a configuration of bluesky-httpserver becomes one of ours."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import tomli_w
import typer
import yaml

from sanic_qserver.cli.options import name_unwritable
from sanic_qserver.config.leftovers import SECTIONS, left_over
from sanic_qserver.config.legacy import read_legacy, translate
from sanic_qserver.errors import ConfigError


def migrate(
    old: Annotated[Path, typer.Argument(help="A configuration of bluesky-httpserver: a YAML file or a folder.")],
    folder: Annotated[Path, typer.Argument(help="Where to write config.toml and policies/; made if it is not there.")],
) -> None:
    """Translate a configuration of bluesky-httpserver.

    Writes config.toml and policies/permissions.yaml into a folder; `${NAME}` is kept as it is. Ends with 0 when all of
    it was carried over, with 1 after listing what was not.
    """
    content = read_legacy(old)
    lost = list(left_over(content))
    sections = translate({name: content[name] for name in content if name in (*SECTIONS, "allow_origins")}, str(old))
    policy = folder / "policies" / "permissions.yaml"
    for file in (folder / "config.toml", policy):
        if file.exists():
            raise ConfigError(f"{file} is there already and is left as it is")
    access = sections.get("policy", {}).pop("access", None)
    if access:
        sections["policy"]["permissions"] = "policies/permissions.yaml"
    notes = [*(f"Not carried over: {note}" for note in lost), *_hashed(sections)]
    head = f"# From {old.name}, by sanic-qserver migrate.\n" + "".join(f"# {note}\n" for note in notes)
    with name_unwritable(folder):
        policy.parent.mkdir(parents=True, exist_ok=True)
        if access:
            policy.write_text(f"# From {old.name}.\n{yaml.safe_dump(access, sort_keys=False)}", "utf-8")
        with os.fdopen(os.open(folder / "config.toml", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as writer:
            writer.write(head + tomli_w.dumps(sections))
    print(f"Wrote {folder / 'config.toml'}" + (f" and {policy}" if access else ""))
    for note in notes:
        print(note if note.startswith("Not carried over") else f"Note: {note}")
    print(f"Check: sanic-qserver check --config {folder / 'config.toml'}")
    if lost:
        raise typer.Exit(1)


def _hashed(sections: dict[str, Any]) -> Iterator[str]:
    """Put hashes in place of plain passwords; say what else to look at."""
    from sanic_qserver.auth.providers.passwords import build_hasher  # noqa: PLC0415
    from sanic_qserver.config.logins import PasswordsConfig  # noqa: PLC0415

    for provider in sections.get("auth", {}).get("providers", []):
        for name, password in provider.get("users", {}).items():
            if not str(password).startswith("${"):
                provider["users"][name] = build_hasher(PasswordsConfig()).hash(str(password))
                yield f"The password of '{name}' was plain; its hash stands in its place."
        if provider["kind"] == "ldap" and not provider.get("verify_certificate", True):
            yield f"'{provider['name']}' does not check the directory's certificate: set verify_certificate = true."


COMMANDS = (migrate,)
