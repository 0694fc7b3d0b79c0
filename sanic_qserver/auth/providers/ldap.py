"""Logins of a directory (LDAP). ldap3 blocks: it works in a bounded pool of threads, with time-outs of its own.

What a person types never becomes part of a filter or of a name unescaped, and an empty password is never tried:
a directory takes it for an anonymous visit and says yes.
"""

import contextlib
import logging
import math
import re
import ssl
from collections.abc import Iterable
from typing import Any

from ldap3 import AUTO_BIND_NONE, BASE, FIRST, SUBTREE, Connection, Server, ServerPool, Tls
from ldap3.core.exceptions import LDAPException, LDAPSocketOpenError
from ldap3.utils.conv import escape_filter_chars
from ldap3.utils.dn import escape_rdn, parse_dn

from sanic_qserver.config.logins import Ldap
from sanic_qserver.errors import ConfigError, GatewayError
from sanic_qserver.structs.canonical import folded
from sanic_qserver.structs.identity import Principal
from sanic_qserver.threads import BoundedPool

log = logging.getLogger("sanic_qserver.auth")

_MEMBER = "(|(member={dn})(uniqueMember={dn})(memberUid={uid}))"


class DirectoryAway(GatewayError):
    """The directory does not answer, or not as it should."""

    status, code, title = 503, "directory_unavailable", "The directory is not available"


class LdapLogin:
    """Knows the people of one directory."""

    def __init__(self, config: Ldap) -> None:
        self.name = config.name
        self.title = config.title or config.name
        self._config = config
        self._is_valid = _pattern(config).fullmatch
        self._templates = _texts(config.bind_dn_template)
        if not self._templates and not config.lookup_dn:
            raise ConfigError(f"[[auth.providers]] {config.name}: give bind_dn_template, or lookup_dn = true")
        if config.lookup_dn and not (config.user_search_base and config.user_attribute):
            raise ConfigError(f"[[auth.providers]] {config.name}: lookup_dn needs user_search_base and user_attribute")
        self._servers = _servers(config)
        self.pool = BoundedPool(config.threads, 8 * config.threads, "ldap")

    async def login(self, username: str, password: str) -> Principal | None:
        """Who that is. Raises DirectoryAway (503) or Overloaded (503)."""
        if not password or not self._is_valid(username):
            return None
        return await self.pool.run(lambda: self._login(username, password))

    async def probe(self) -> str:
        """Ask the directory, and log in there with the server's own account if it has one. Raises DirectoryAway."""
        return await self.pool.run(self._probe)

    def _probe(self) -> str:
        user, password = self._config.lookup_dn_search_user, self._config.lookup_dn_search_password
        try:
            connection = self._bound(user, password) if user else self._opened("", "")
        except (LDAPException, OSError) as error:
            raise DirectoryAway(_reason(error)) from None
        if connection is None:
            raise DirectoryAway("The directory refuses the server's own account (lookup_dn_search_user)")
        connection.unbind()
        return "the directory answers"

    def _login(self, username: str, password: str) -> Principal | None:
        try:
            resolved, names = self._read_names(username)
            for dn in names:
                if (connection := self._bound(dn, password)) is not None:
                    try:
                        return self._principal(connection, dn, resolved)
                    finally:
                        connection.unbind()
        except (LDAPException, OSError) as error:
            log.error("The directory of %s cannot be asked: %s", self.name, _reason(error))  # noqa: TRY400
            raise DirectoryAway("The directory does not answer", headers={"Retry-After": "5"}) from error
        log.info("%s: wrong name or password", self.name)
        return None

    def _read_names(self, username: str) -> tuple[str, list[str]]:
        """The login as the directory has it, and the distinguished names to try."""
        config = self._config
        if not config.lookup_dn:
            return username, [_filled(template, username) for template in self._templates]
        found = self._look_up(username)
        if found is None:
            return username, []
        dn, resolved = found
        names = [_filled(template, resolved) for template in self._templates] if resolved else [dn]
        return (resolved if resolved and config.use_lookup_dn_username else username), names or [dn]

    def _look_up(self, username: str) -> tuple[str, str] | None:
        """The name of exactly one entry that is meant, and its `lookup_dn_user_dn_attribute`."""
        config = self._config
        user, password = config.lookup_dn_search_user, config.lookup_dn_search_password
        connection = self._bound(user, password) if user else self._anonymous()
        if connection is None:
            raise DirectoryAway("The directory refuses the server's own account (lookup_dn_search_user)")
        wanted = config.lookup_dn_search_filter.format(
            login_attr=config.user_attribute, login=escape_filter_chars(username)
        )
        attribute = config.lookup_dn_user_dn_attribute
        try:
            entries = _search(connection, config.user_search_base, wanted, [attribute] if attribute else [])
        finally:
            connection.unbind()
        if len(entries) != 1:
            return None
        return str(entries[0]["dn"]), _first(entries[0], attribute) if attribute else ""

    def _principal(self, connection: Connection, dn: str, username: str) -> Principal | None:
        config = self._config
        if config.search_filter and not self._is_found(connection, username):
            return None
        spelled = (config.user_attribute, config.lookup_dn_user_dn_attribute, _read_attribute(dn))
        shown = (config.displayed_name_attribute, config.email_attribute, config.groups_attribute)
        wanted = [name for name in dict.fromkeys((*shown, *spelled, *config.auth_state_attributes)) if name]
        entries = _search(connection, dn, "(objectClass=*)", wanted, scope=BASE)
        entry = entries[0] if entries else {"attributes": {}}
        username = _spelling(username, (str(value) for name in spelled for value in _values(entry, name)))
        if config.allowed_groups and not any(_is_member(connection, g, dn, username) for g in config.allowed_groups):
            log.warning("%s:%s has the right password, and is in none of allowed_groups", self.name, username)
            return None
        groups = [str(group) for group in _values(entry, config.groups_attribute)]
        if config.group_search_base:
            member = _MEMBER.format(dn=escape_filter_chars(dn), uid=escape_filter_chars(username))
            groups += [str(found["dn"]) for found in _search(connection, config.group_search_base, member, [])]
        return Principal(
            name=username,
            provider=self.name,
            displayed_name=_first(entry, config.displayed_name_attribute),
            email=_first(entry, config.email_attribute),
            groups=tuple(dict.fromkeys(name for group in groups for name in _names(group))),
            claims={name: [str(one) for one in _values(entry, name)] for name in config.auth_state_attributes},
        )

    def _is_found(self, connection: Connection, username: str) -> bool:
        config = self._config
        wanted = config.search_filter.format(userattr=config.user_attribute, username=escape_filter_chars(username))
        return len(_search(connection, config.user_search_base, wanted, list(config.attributes))) == 1

    def _anonymous(self) -> Connection | None:
        return self._bound("", "")

    def _bound(self, dn: str, password: str) -> Connection | None:
        """A connection as `dn`; None when the directory says that name and password do not fit."""
        connection = self._opened(dn, password)
        try:
            if connection.bind():
                return connection
        except (LDAPException, OSError):
            _close(connection)
            raise
        connection.unbind()
        return None

    def _opened(self, dn: str, password: str) -> Connection:
        """A connection to a server that answers, encrypted if it is to be, not yet bound."""
        config = self._config
        connection = Connection(
            self._servers,
            user=dn or None,
            password=password or None,
            auto_bind=AUTO_BIND_NONE,
            receive_timeout=math.ceil(config.receive_timeout),  # it goes into a struct of whole seconds
            read_only=True,
        )
        try:
            connection.open()
            if config.use_tls and not config.use_ssl and not connection.start_tls():
                raise LDAPSocketOpenError("STARTTLS was refused")
        except (LDAPException, OSError):
            _close(connection)
            raise
        return connection


def _reason(error: BaseException) -> str:
    """What went wrong, in one line; ldap3 hides the reason of TLS in its text or behind it."""
    parts = [" ".join(str(error).split())]
    if (cause := error.__cause__ or error.__context__) is not None:
        parts.append(" ".join(str(cause).split()))
    return f"{type(error).__name__}: {'; '.join(part for part in dict.fromkeys(parts) if part)}"[:500]


def _close(connection: Connection) -> None:
    """ldap3 leaves the socket of a failed handshake open."""
    if connection.socket is not None:
        with contextlib.suppress(OSError):
            connection.socket.close()


def _servers(config: Ldap) -> ServerPool:
    validate = ssl.CERT_REQUIRED if config.verify_certificate else ssl.CERT_NONE
    tls = Tls(validate=validate, ca_certs_file=config.ca_certs_file or None)
    servers = []
    for address in _texts(config.server_address):
        host, _, port = address.rpartition(":") if re.search(r":\d+$", address) else (address, "", "")
        number = int(port) if port else config.server_port or (636 if config.use_ssl else 389)
        servers.append(
            Server(host, number, use_ssl=config.use_ssl, tls=tls, connect_timeout=config.connect_timeout, get_info=None)
        )
    if not servers:
        raise ConfigError(f"[[auth.providers]] {config.name}: server_address is empty")
    return ServerPool(servers, FIRST, active=1, exhaust=30)


def _pattern(config: Ldap) -> "re.Pattern[str]":
    try:
        return re.compile(config.valid_username_regex.removesuffix("$"))
    except re.error as error:
        raise ConfigError(f"[[auth.providers]] {config.name}: valid_username_regex: {error}") from None


def _search(
    connection: Connection, base: str, wanted: str, attributes: list[str], scope: str = SUBTREE
) -> list[dict[str, Any]]:
    connection.search(base, wanted, search_scope=scope, attributes=attributes or ["1.1"], size_limit=1000)
    return [one for one in connection.response or [] if one.get("type") == "searchResEntry"]


def _is_member(connection: Connection, group: str, dn: str, username: str) -> bool:
    wanted = _MEMBER.format(dn=escape_filter_chars(dn), uid=escape_filter_chars(username))
    return bool(_search(connection, group, wanted, [], scope=BASE))


def _filled(template: str, username: str) -> str:
    return template.format(username=escape_rdn(username))


def _spelling(typed: str, known: Iterable[str]) -> str:
    """The login as the directory spells it, or else without differences of case: never as it was typed."""
    return next((name for name in known if folded(name) == folded(typed)), folded(typed))


def _read_attribute(dn: str) -> str:
    """The attribute that a distinguished name begins with: `uid` of `uid=jdoe,ou=people,…`."""
    try:
        return str(parse_dn(dn)[0][0])
    except (LDAPException, IndexError):
        return ""


def _names(group: str) -> tuple[str, ...]:
    """A group by its full name and by its common name."""
    try:
        kind, value, _ = parse_dn(group)[0]
    except (LDAPException, IndexError):
        return (group,)
    return (value, group) if kind.lower() == "cn" else (group,)


def _values(entry: dict[str, Any], name: str) -> list[Any]:
    found: Any = next((v for key, v in entry["attributes"].items() if key.lower() == name.lower()), []) if name else []
    return list(found) if isinstance(found, (list, tuple)) else [found]


def _first(entry: dict[str, Any], name: str) -> str:
    values = _values(entry, name)
    return str(values[0]) if values else ""


def _texts(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) and value else tuple(value)
