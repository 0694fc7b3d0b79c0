"""What a configuration of bluesky-httpserver says and `legacy` does not carry over: nothing is dropped in silence.

`serve` and `check` warn of it, `migrate` lists it and ends with 1. Knows which keys are translated, not how.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

SHORTEST_SECRET = 8
EXAMPLE_DN = "cn={username},ou=users,dc=example,dc=org"
_SAYS: Mapping[str, str] = {
    "workers": "one process is enough for nearly every instrument; else set [server] workers and [replicas] redis",
    "proxy_headers": "set [server] trusted_proxies",
    "forwarded_allow_ips": "set [server] trusted_proxies",
    "allow_origins": "it stands at the top of the file, not in a section",
    "tiled_admins": "give the role admin in the policy",
    "qserver_admins": "give the role admin in the policy",
    "confirmation_message": "it is not shown here",
    "public_keys": "the provider's keys are discovered",
    "token_uri": "it is discovered",
    "authorization_endpoint": "it is discovered",
    "redirect_on_success": "a login ends on this server's own page",
    "redirect_on_failure": "a login ends on this server's own page",
}
_TLS = "of TLS the certificate and its key are carried over (docs/operations.md): remove this"
SECTIONS: Mapping[str, frozenset[str]] = {
    "qserver_zmq_configuration": frozenset({"control_address", "info_address", "public_key", "encoding"}),
    "server_configuration": frozenset({"custom_routers", "custom_modules"}),
    "authentication": frozenset(
        {
            "providers", "secret_keys", "allow_anonymous_access", "single_user_api_key",
            "access_token_max_age", "refresh_token_max_age", "session_max_age",
        }
    ),
    "database": frozenset({"uri", "pool_size", "pool_pre_ping"}),
    "uvicorn": frozenset({"host", "port", "root_path", "ssl_certfile", "ssl_keyfile"}),
    "api_access": frozenset({"policy", "args"}),
    "resource_access": frozenset({"policy", "args"}),
    "metrics": frozenset({"prometheus"}),
}  # fmt: skip
_PROVIDER = frozenset({"provider", "authenticator", "args"})
_ROLE = frozenset({"scopes_set", "scopes_add", "scopes_remove"})
_USER = frozenset({"roles", "displayed_name", "email", "mail"})
_ACCESS = frozenset({
    "roles", "users", "server", "port", "instrument", "update_period", "expiration_period", "http_timeout",
})  # fmt: skip
_DROPPED = (
    "confirmation_message", "public_keys", "token_uri", "authorization_endpoint", "redirect_on_success",
    "redirect_on_failure",
)  # fmt: skip


def left_over(old: Mapping[str, Any]) -> Iterator[str]:
    """A line for each setting that is not carried over, with its path and what to do."""
    for name, section in old.items():
        if name == "allow_origins":
            continue
        if name not in SECTIONS:
            yield f"{name}: there is no such section"
        elif isinstance(section, Mapping):
            yield from _unknown(name, section, SECTIONS[name])
    if any(is_weak(secret) for secret in _part(old, "authentication").get("secret_keys") or ()):
        yield (
            f"authentication.secret_keys: one has less than {SHORTEST_SECRET} characters: write one of "
            "`openssl rand -hex 32`, or none (it is made and kept beside an SQLite database)"
        )
    yield from _providers(_part(old, "authentication").get("providers") or ())
    access = _part(_part(old, "api_access"), "args")
    if str(_part(old, "api_access").get("policy", "bluesky_httpserver.")).startswith("bluesky_httpserver."):
        yield from _unknown("api_access.args", access, _ACCESS)
        for part, known in (("roles", _ROLE), ("users", _USER)):
            for name, entry in _part(access, part).items():
                yield from _unknown(f"api_access.args.{part}.{name}", entry or {}, known)
    yield from _unknown(
        "resource_access.args", _part(_part(old, "resource_access"), "args"), {"default_group", "access_group"}
    )


def _providers(providers: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for provider in providers:
        where = f"authentication.providers.{provider.get('provider', '?')}"
        yield from _unknown(where, provider, _PROVIDER)
        args = _part(provider, "args")
        is_theirs = str(provider.get("authenticator", "")).startswith("bluesky_httpserver.")
        yield from (f"{where}.args.{key}: {_SAYS[key]}" for key in _DROPPED if is_theirs and args.get(key))
        if str(provider.get("authenticator", "")).endswith(":LDAPAuthenticator") and names_nobody(args):
            yield (
                f"{where}.args: neither bind_dn_template nor lookup_dn is there, so that nobody could log in; "
                f'bind_dn_template = "{EXAMPLE_DN}" is an example: write that of your directory'
            )


def is_weak(secret: Any) -> bool:
    """Whether a secret that signs tokens is so short that anybody could find it. A `${NAME}` is not looked at."""
    return len(str(secret)) < SHORTEST_SECRET and not str(secret).startswith("${")


def names_nobody(args: Mapping[str, Any]) -> bool:
    """Whether the arguments of an LDAP login do not say which entry a name stands for."""
    return not args.get("bind_dn_template") and not args.get("lookup_dn")


def _unknown(where: str, section: Mapping[str, Any], known: frozenset[str] | set[str]) -> Iterator[str]:
    for key in section:
        if key not in known:
            says = _TLS if str(key).startswith("ssl_") else _SAYS.get(str(key), "there is no such setting")
            yield f"{where}.{key}: {says}"


def _part(section: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = section.get(name)
    return found if isinstance(found, Mapping) else {}
