"""The request as this server sees it: forms are read our way, and proxies are heard where they are trusted."""

from typing import Any

from sanic import Request
from sanic.compat import Header
from sanic.headers import Options
from sanic.request import File, RequestParameters

from sanic_qserver.api.call import Site
from sanic_qserver.http.forms import MULTIPART, URLENCODED, check_charset, parse_multipart, parse_urlencoded
from sanic_qserver.http.server.connections import read_peer
from sanic_qserver.http.server.forwarding import Forwarding, strip_prefix
from sanic_qserver.structs.identity import Credential


class FormRequest(Request[Any, Any]):
    """A request whose `form` and `files` are read as UTF-8, within limits. For blueprints of custom modules."""

    def get_form(self, keep_blank_values: bool = False) -> RequestParameters:
        """Fields of a form. Raises GatewayError for one that cannot be read."""
        fields: dict[str, list[str]] = {}
        files: dict[str, list[File]] = {}
        content_type = str(self.headers.get("content-type", ""))
        kind = content_type.partition(";")[0].strip().lower()
        pairs: list[tuple[str, str]] = []
        if kind == URLENCODED:
            check_charset(content_type)
            pairs = [pair for pair in parse_urlencoded(self.body) if pair[1] or keep_blank_values]
        elif kind == MULTIPART:
            form = parse_multipart(self.body, content_type)
            pairs = form.fields
            for part in form.files:
                files.setdefault(part.name, []).append(File(part.content_type, part.body, part.file_name or ""))
        for name, value in pairs:
            fields.setdefault(name, []).append(value)
        self.parsed_form, self.parsed_files = RequestParameters(fields), RequestParameters(files)
        return self.parsed_form


class OfHead:
    """What was found out from a head and its connection, and holds when the same head comes again on that one.

    `credential`: what it carries; `described`: what the access log says of it.
    """

    __slots__ = ("credential", "described")

    def __init__(self) -> None:
        self.credential: Credential | None = None
        self.described: Any = None


class DirectRequest(FormRequest):
    """A request that came without a proxy in between: the peer is the client.

    Sanic's own `client_ip` reads and parses forwarding headers for each question, to find that none is trusted.
    """

    known_of_head: OfHead | None = None

    @property
    def of_head(self) -> OfHead:
        """What is known of its head."""
        if self.known_of_head is None:
            self.known_of_head = OfHead()
        return self.known_of_head

    @property
    def client_ip(self) -> str:
        """The peer's address; "" on a unix socket."""
        return self.conn_info.client_ip if self.conn_info is not None else ""

    @property
    def forwarded(self) -> Options:
        """Nothing, whatever the environment tells Sanic."""
        return {}

    def find_site(self) -> Site:
        """How the client addresses this server."""
        scheme = "https" if self.conn_info is not None and self.conn_info.ssl else "http"
        return Site(scheme, self.headers.get("host", ""), "")


class FrontedRequest(DirectRequest):
    """A request that may have come through proxies, or to a path under a prefix, which is taken away here."""

    def __init__(
        self,
        url_bytes: bytes,
        headers: Header,
        version: str,
        method: str,
        transport: Any,
        app: Any,
        head: bytes = b"",
        stream_id: int = 0,
    ) -> None:
        forwarding: Forwarding = app.ctx.forwarding
        self.told = forwarding.read(read_peer(transport), headers)
        url = strip_prefix(url_bytes, self.told.prefix)
        super().__init__(url, headers, version, method, transport, app, head, stream_id)

    @property
    def client_ip(self) -> str:
        """The client's address, as trusted proxies tell it; "" on a unix socket."""
        return self.told.address

    @property
    def forwarded(self) -> Options:
        """What trusted proxies tell, in Sanic's words, for blueprints of custom modules."""
        told = {"for": self.told.address, "proto": self.told.scheme, "host": self.told.host}
        return {name: value for name, value in told.items() if value}

    def find_site(self) -> Site:
        """How the client addresses this server."""
        direct = super().find_site()
        return Site(self.told.scheme or direct.scheme, self.told.host or direct.host, self.told.prefix)
