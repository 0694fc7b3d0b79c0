"""The request as this server sees it: forms are read our way, and forwarding headers only where there are proxies."""

from typing import Any

from sanic import Request
from sanic.request import File, RequestParameters

from sanic_qserver.http.forms import MULTIPART, URLENCODED, check_charset, parse_multipart, parse_urlencoded


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


class DirectRequest(FormRequest):
    """A request that came without a proxy in between: the peer is the client.

    Sanic's own `client_ip` reads and parses forwarding headers for each question, to find that none is trusted.
    """

    @property
    def client_ip(self) -> str:
        """The peer's address; "" on a unix socket."""
        return self.conn_info.client_ip if self.conn_info is not None else ""
