"""What proxies tell of a request: whom it comes from, and by which scheme, host and path prefix it was sent.

The rules:
1. A header counts only when the peer of the connection is trusted, and only the headers that the site lists.
2. The client is the rightmost address that is not trusted: each proxy writes down whom it was asked by, at the right
   end, and what stands further left may be the client's own invention.
3. What cannot be read is as if it was not there, and so is all that stands left of it.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

from msgspec import Struct

from sanic_qserver.config.settings import ServerConfig
from sanic_qserver.errors import ConfigError
from sanic_qserver.structs.networks import UNIX, Networks, read_address

_PREFIX = re.compile(r"(?:/[A-Za-z0-9_~!$&'()*+,;=:@-][A-Za-z0-9._~!$&'()*+,;=:@-]*){1,20}").fullmatch
# One `name=value` of a Forwarded header (RFC 7239, section 4), from right to left: what a client has left open at the
# left cannot swallow what a proxy has put behind it.
_BACKWARDS = re.compile(
    r"""[ \t]*(?:"(?P<quoted>[^"\\]*)"|(?P<plain>[^ \t";,=]*))=(?P<name>[A-Za-z]+)[ \t]*(?P<end>[;,]|$)"""
)
_LONGEST = 4096  # Of a header so much is read, from its right end.
_SCHEMES = {"https": "https", "wss": "https", "http": "http", "ws": "http"}


class Told(Struct, frozen=True):
    """What is known of a request. `scheme` and `host` are "" when no proxy told them."""

    address: str
    scheme: str = ""
    host: str = ""
    prefix: str = ""


class Forwarding:
    """Reads what proxies tell. One an application."""

    def __init__(self, config: ServerConfig) -> None:
        """Raises ConfigError."""
        if config.trusted_proxies and config.proxies_count:
            raise ConfigError("[server] trusted_proxies says more than proxies_count: set one of them")
        if {"forwarded", "x-forwarded-for"} <= set(config.forwarded_headers):
            raise ConfigError("[server] forwarded_headers: a proxy writes 'forwarded' or 'x-forwarded-for', not both")
        if config.root_path and not _PREFIX(config.root_path):
            raise ConfigError("[server] root_path: a path like /qs, without a slash at its end")
        try:
            self._networks = Networks(config.trusted_proxies)
        except ValueError as error:
            raise ConfigError(f"[server] trusted_proxies: {error}") from None
        self._count = config.proxies_count
        self._names = frozenset(config.forwarded_headers)
        self.root_path = config.root_path
        self._told = lru_cache(maxsize=1024)(self._tell)

    @property
    def is_off(self) -> bool:
        """Whether no header ever counts and no path has a prefix."""
        return not (self._networks or self._count or self.root_path)

    def trusts(self, peer: str) -> bool:
        """Whether the peer of a connection is a proxy."""
        return bool(self._count) or self._networks.hold(peer)

    def read(self, peer: str, headers: Mapping[str, str]) -> Told:
        """What is known of a request with these headers."""
        if not self.trusts(peer):
            return self._told(peer, ())
        getall = headers.getall  # type: ignore[attr-defined]  # a multidict
        said = [(name, ",".join(getall(name))) for name in sorted(self._names) if name in headers]
        return self._told(peer, tuple(said))

    def _tell(self, peer: str, said: tuple[tuple[str, str], ...]) -> Told:
        direct = "" if peer == UNIX else peer
        fields = {name: value[-_LONGEST:] for name, value in said}
        hops = list(_read_forwarded(fields.get("forwarded", "")))
        scheme, host = _last(fields.get("x-forwarded-proto", "")), _last(fields.get("x-forwarded-host", ""))
        if not hops:
            hops = [{"for": address} for address in reversed(fields.get("x-forwarded-for", "").split(","))]
        address, hop = self._find_client(direct, hops)
        prefix = _last(fields.get("x-forwarded-prefix", "")).rstrip("/")
        return Told(
            address,
            _SCHEMES.get(hop.get("proto", scheme).lower(), ""),
            hop.get("host", host),
            prefix if _PREFIX(prefix) else self.root_path,
        )

    def _find_client(self, peer: str, hops: list[dict[str, str]]) -> tuple[str, dict[str, str]]:
        """The client's address, and what the proxy that it talked to has told of it. `hops`: the nearest one first."""
        if self._count:
            address = read_address(hops[self._count - 1].get("for", "")) if len(hops) >= self._count else ""
            return (address, hops[self._count - 1]) if address else (peer, {})
        found: tuple[str, dict[str, str]] = peer, {}
        for hop in hops:
            address = read_address(hop.get("for", ""))
            if not address:
                break
            found = address, hop
            if not self._networks.hold(address):
                break
        return found


def strip_prefix(url: bytes, prefix: str) -> bytes:
    """The target of a request without the path prefix, where the proxy has left it there."""
    start = 0 if url.startswith(b"/") else url.find(b"/", len(b"https://"))
    wanted = prefix.encode()
    end = start + len(wanted)
    if not wanted or start < 0 or url[start:end] != wanted or url[end : end + 1] not in (b"/", b"?", b""):
        return url
    rest = url[end:]
    return url[:start] + (rest if rest.startswith(b"/") else b"/" + rest)


def _last(value: str) -> str:
    return value.rpartition(",")[2].strip()


def _read_forwarded(value: str) -> Iterator[dict[str, str]]:
    """The elements of a Forwarded header, the last one first, as far as they can be read."""
    text, position, hop = value[::-1], 0, dict[str, str]()
    while position < len(text):
        match = _BACKWARDS.match(text, position)
        if match is None:
            return
        hop[match["name"][::-1].lower()] = (match["quoted"] or match["plain"] or "")[::-1]
        position = match.end()
        if match["end"] != ";":
            yield hop
            hop = {}
