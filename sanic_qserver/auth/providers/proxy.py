"""Identity from headers of a trusted reverse proxy. They count only on connections that come from the proxy."""

import re
from collections.abc import Mapping

from sanic_qserver.config.logins import ProxyIdentity
from sanic_qserver.errors import ConfigError, NotAuthenticated
from sanic_qserver.structs.canonical import folded
from sanic_qserver.structs.identity import Credential, CredentialKind, Principal
from sanic_qserver.structs.networks import Networks

_COMMON_NAME = re.compile(r"(?:^|[,/])\s*CN\s*=\s*([^,/]+)", re.IGNORECASE)
_GOOD = re.compile(r"[^\x00-\x1f\x7f]{1,255}").fullmatch


class ProxyHeaders:
    """Recognises requests that a trusted proxy has marked. From anywhere else the same headers mean nothing."""

    kinds = frozenset({CredentialKind.ANONYMOUS})

    def __init__(self, config: ProxyIdentity) -> None:
        self.name = config.name
        self._config = config
        try:
            self._networks = Networks(config.addresses)
        except ValueError as error:
            raise ConfigError(f"[[auth.providers]] {config.name}: addresses: {error}") from None
        if not self._networks:
            raise ConfigError(f"[[auth.providers]] {config.name}: addresses is empty: no proxy would be trusted")

    async def identify(self, credential: Credential) -> Principal | None:
        """Whom the proxy names. Raises NotAuthenticated when a header comes twice: one may be the client's."""
        if not self._networks.hold(credential.peer):
            return None
        config, headers = self._config, credential.headers
        name = _one(headers, config.header)
        if not name and config.certificate_header:
            found = _COMMON_NAME.search(_one(headers, config.certificate_header))
            name = found[1].strip() if found else ""
        if not name:
            return None
        if not _GOOD(name) or name.startswith("UNAUTHENTICATED_"):
            raise NotAuthenticated("The proxy names somebody in a way that cannot be read")
        groups = _one(headers, config.groups_header)
        return Principal(
            name=folded(name),  # Some proxies pass on what was typed.
            provider=self.name,
            displayed_name=_one(headers, config.displayed_name_header),
            email=_one(headers, config.email_header),
            groups=tuple(group.strip() for group in groups.split(",") if group.strip()),
        )


def _one(headers: Mapping[str, str], name: str) -> str:
    if not name:
        return ""
    getall = getattr(headers, "getall", None)
    values = getall(name, []) if getall is not None else [headers[name]] if name in headers else []
    if len(values) > 1:
        raise NotAuthenticated(f"The header {name} comes more than once")
    return str(values[0]).strip() if values else ""
