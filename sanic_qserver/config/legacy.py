"""Configurations of bluesky-httpserver, read as they are: YAML sections in, sections of `config.toml` out.

Rules: what has a counterpart here is translated; logins and policies that have none are refused by name; all else that
is not carried over is told by `leftovers`. Passwords may stand in plain text and
certificates of directories are not checked, as there; `migrate` says so in what it writes.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from sanic_qserver.config.leftovers import EXAMPLE_DN, SECTIONS, is_weak, names_nobody
from sanic_qserver.errors import ConfigError
from sanic_qserver.scopes import Scope

Json = dict[str, Any]
SUFFIXES = (".yml", ".yaml")
_SCOPES = frozenset(map(str, Scope))
DEFAULT_DATABASE = "sqlite:///./bluesky-httpserver.sqlite"
_SECTIONS = {*SECTIONS, "allow_origins"}


def is_legacy(path: Path) -> bool:
    """Whether a path is such a configuration: a YAML file, or a folder of them."""
    return path.is_dir() or path.suffix in SUFFIXES


def read_legacy(path: Path) -> Json:
    """The sections of a file, or of all YAML files in a folder together. Raises ConfigError."""
    files = sorted(one for one in path.iterdir() if one.suffix in SUFFIXES) if path.is_dir() else [path]
    if not files:
        hint = f"name the file: {path / 'config.toml'}" if (path / "config.toml").exists() else "name a config.toml"
        raise ConfigError(f"{path}: there is no YAML file of bluesky-httpserver in this folder; {hint}")
    together: Json = {}
    for file in files:
        try:
            content = yaml.safe_load(file.read_text("utf-8")) or {}
        except OSError as error:
            raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
        except (UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(f"{file} is not YAML: {error}") from None
        if not isinstance(content, dict):
            raise ConfigError(f"{file}: the file must hold sections")
        _join(together, content, str(file))
    return together


def _join(into: Json, more: Mapping[str, Any], where: str) -> None:
    for key, value in more.items():
        if key not in into:
            into[key] = value
        elif isinstance(into[key], dict) and isinstance(value, dict):
            _join(into[key], value, f"{where}: {key}")
        elif isinstance(into[key], list) and isinstance(value, list):
            into[key] = [*into[key], *value]
        else:
            raise ConfigError(f"{where}: {key} is set in another file of the folder too")


def translate(old: Mapping[str, Any], where: str, *, allow_anonymous_access: bool = False) -> Json:
    """The same settings, as sections of `config.toml`. Raises ConfigError for what cannot be had here.

    `allow_anonymous_access` is what the environment says; the file wins over it, as there.
    """
    if unknown := sorted(set(old) - _SECTIONS):
        raise ConfigError(f"{where}: {unknown[0]}: there is no such section")
    new: Json = {}
    zmq = _section(old, "qserver_zmq_configuration", where)
    if zmq:
        new["manager"] = {
            key: zmq[key] for key in ("control_address", "info_address", "public_key", "encoding") if key in zmq
        }
    if "allow_origins" in old:
        new.setdefault("server", {})["allow_origins"] = list(old["allow_origins"] or [])
    web = _section(old, "uvicorn", where)
    new.setdefault("server", {}).update({key: web[key] for key in ("host", "port") if key in web})
    files = {"ssl_certfile": "tls_certificate", "ssl_keyfile": "tls_key"}
    new["server"].update({ours: str(web[theirs]) for theirs, ours in files.items() if web.get(theirs)})
    if root_path := str(web.get("root_path", "")).rstrip("/"):
        new["server"]["root_path"] = root_path
    server = _section(old, "server_configuration", where)
    extensions = {"blueprints": server.get("custom_routers"), "modules": server.get("custom_modules")}
    if any(extensions.values()):
        new["extensions"] = {key: list(value) for key, value in extensions.items() if value}
    _authentication(_section(old, "authentication", where), _section(old, "database", where), new, where)
    _policies(old, new, where, allow_anonymous_access=allow_anonymous_access)
    return {name: section for name, section in new.items() if section}


def _authentication(old: Json, database: Json, new: Json, where: str) -> None:
    auth: Json = {}
    if old.get("single_user_api_key"):
        auth["single_user_api_key"] = old["single_user_api_key"]
    if secrets := [secret for secret in old.get("secret_keys") or () if not is_weak(secret)]:
        auth["secret_keys"] = secrets
    if old.get("allow_anonymous_access") is not None:
        auth["allow_anonymous_access"] = bool(old["allow_anonymous_access"])
    ages = {
        "access_token_max_age": "access_token_s",
        "refresh_token_max_age": "refresh_token_s",
        "session_max_age": "session_s",
    }
    if tokens := {ours: float(old[theirs]) for theirs, ours in ages.items() if old.get(theirs) is not None}:
        auth["tokens"] = tokens
    if providers := old.get("providers"):
        auth["providers"] = [_provider(one, f"{where}: authentication.providers") for one in providers]
    if auth:
        new["auth"] = auth
    if database:
        names = {"uri": "url", "pool_size": "pool_size", "pool_pre_ping": "pool_pre_ping"}
        new["database"] = {ours: database[theirs] for theirs, ours in names.items() if theirs in database}
    elif auth.get("providers"):
        new["database"] = {"url": DEFAULT_DATABASE}


def _provider(old: Mapping[str, Any], where: str) -> Json:
    name, path = str(old.get("provider", "")), str(old.get("authenticator", ""))
    args = dict(old.get("args") or {})
    args.pop("confirmation_message", None)
    where = f"{where}: {name or '?'}"
    module, _, kind = path.partition(":")
    if not module.startswith("bluesky_httpserver."):
        return {"kind": "custom", "name": name, "import_path": path, "options": args}
    if kind == "SAMLAuthenticator":
        raise ConfigError(
            f'{where}: SAMLAuthenticator: write [[auth.providers]] kind = "saml" into config.toml, with entity_id, '
            "redirect_uri, idp_entity_id and metadata; see docs/authentication.md"
        )
    if kind not in _KINDS:
        raise ConfigError(f"{where}: authenticator {path} has no counterpart here; see docs/authentication.md")
    return {"name": name, **_KINDS[kind](args, where)}


def _dictionary(args: Json, where: str) -> Json:
    users = args.pop("users_to_passwords", None)
    _nothing_left(args, where)
    return {"kind": "dictionary", "users": dict(users or {})}


def _ldap(args: Json, where: str) -> Json:  # noqa: ARG001  # the table's form
    for name in ("bind_dn_template", "allowed_groups", "attributes", "auth_state_attributes"):
        if name in args and args[name] is None:
            del args[name]
        elif name in args and isinstance(args[name], str) and name != "bind_dn_template":
            args[name] = [args[name]]
    if names_nobody(args):
        args["bind_dn_template"] = EXAMPLE_DN
    given = {key: value for key, value in args.items() if value is not None}
    # There, the directory's certificate is not checked; nobody should find logins shut after a change of servers.
    return {"kind": "ldap", "verify_certificate": False, **given}


def _pam(args: Json, where: str) -> Json:
    service = args.pop("service", "login")
    _nothing_left(args, where)
    return {"kind": "pam", "service": service}


def _oidc(args: Json, where: str) -> Json:
    known = str(args.pop("well_known_uri", "") or args.pop("well_known_url", "") or args.pop("discovery_url", ""))
    issuer = str(args.pop("issuer", "")) or known.removesuffix("/.well-known/openid-configuration")
    if not issuer:
        raise ConfigError(
            f"{where}: give `well_known_uri` in args: keys and addresses of the provider are discovered here, "
            "not listed (public_keys, token_uri, authorization_endpoint)"
        )
    made = {"kind": "oidc", "issuer": issuer, "client_id": args.pop("client_id", args.pop("audience", ""))}
    for name in ("client_secret", "redirect_uri"):
        if args.get(name):
            made[name] = args[name]
        args.pop(name, None)
    for dropped in ("public_keys", "token_uri", "authorization_endpoint", "redirect_on_success", "redirect_on_failure"):
        args.pop(dropped, None)
    _nothing_left(args, where)
    return made


_KINDS: dict[str, Callable[[Json, str], Json]] = {
    "DictionaryAuthenticator": _dictionary,
    "LDAPAuthenticator": _ldap,
    "PAMAuthenticator": _pam,
    "OIDCAuthenticator": _oidc,
}


def _nothing_left(args: Json, where: str) -> None:
    if args:
        raise ConfigError(f"{where}: args.{min(args)} has no counterpart here")


def _policies(old: Mapping[str, Any], new: Json, where: str, *, allow_anonymous_access: bool) -> None:
    """API access and resource access, as the content of one permissions file."""
    access = _access(_section(old, "api_access", where), f"{where}: api_access", new)
    resource = _section(old, "resource_access", where)
    args = resource.get("args") or {}
    group = args.get("default_group") or args.get("access_group")
    path = str(resource.get("policy", "bluesky_httpserver.authorization:DefaultResourceAccessControl"))
    if not path.startswith("bluesky_httpserver."):
        raise ConfigError(f"{where}: resource_access.policy {path}: write the groups into policies/permissions.yaml")
    if group:
        access["user_group"] = group
    said = _section(old, "authentication", where).get("allow_anonymous_access")
    roles = access.get("roles", {})
    if "unauthenticated_public" in roles and not (allow_anonymous_access if said is None else said):
        roles["unauthenticated_public"] = {"scopes_set": []}  # There, this role applies only where it is allowed.
    if access:
        new.setdefault("policy", {})["access"] = access


def _access(section: Json, where: str, new: Json) -> Json:
    path, args = str(section.get("policy", "")), dict(section.get("args") or {})
    if not section:
        return {}
    if not path.startswith("bluesky_httpserver."):
        new["policy"] = {"access_class": path, "access_args": args}
        return {}
    kind = path.partition(":")[2]
    if kind == "ServerBasedAPIAccessControl":
        new["policy"] = {"access_server": _access_server(args)}
    elif kind not in ("BasicAPIAccessControl", "DictionaryAPIAccessControl"):
        raise ConfigError(f"{where}: policy {path} has no counterpart here; see docs/authentication.md")
    roles = {name: _role(role) for name, role in _items(args, "roles")}
    made: Json = {"roles": roles} if roles else {}
    if users := dict(_items(args, "users")):
        made["users"] = {name: _user(user) for name, user in users.items()}
    return made


def _role(old: Mapping[str, Any] | None) -> Json:
    """A role that is null has no scopes there. Scopes unknown here are reported and grant nothing."""
    if old is None:
        return {"scopes_set": []}
    kept = ("scopes_set", "scopes_add", "scopes_remove")
    made = {key: [one for one in _words(old[key]) if one in _SCOPES] for key in kept if key in old}
    given = {one for key in ("scopes_set", "scopes_add") for one in _words(old.get(key))}
    if unknown := sorted(given - _SCOPES - set(_words(old.get("scopes_remove")))):
        made["unknown_scopes"] = unknown
    return made


def _access_server(args: Json) -> Json:
    server = f"http://{args.get('server', 'localhost')}:{args.get('port', 8000)}"
    given = {
        "update_period_s": args.get("update_period", 900),
        "expiration_s": args.get("expiration_period"),
        "timeout_s": args.get("http_timeout"),
    }
    known = {name: float(value) for name, value in given.items() if value is not None}
    return {"url": server, "instrument": str(args.get("instrument", "")).lower(), **known}


def _user(old: Mapping[str, Any] | None) -> Json | None:
    if not old or not old.get("roles"):
        return None
    roles = [role.lower() for role in _words(old["roles"])]
    renamed = {
        "roles": roles,
        "displayed_name": old.get("displayed_name"),
        "email": old.get("email") or old.get("mail"),
    }
    return {name: value for name, value in renamed.items() if value}


def _items(args: Json, name: str) -> list[tuple[str, Any]]:
    return list((args.get(name) or {}).items())


def _words(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or [])


def _section(old: Mapping[str, Any], name: str, where: str) -> Json:
    section = old.get(name) or {}
    if not isinstance(section, dict):
        raise ConfigError(f"{where}: {name} must be a section")
    return dict(section)
