"""Files of pages: what they are sent as, and a folder of them as a row. No page may load anything from elsewhere."""

from collections.abc import Mapping
from importlib.resources.abc import Traversable
from pathlib import Path

from sanic_qserver.api.call import Call
from sanic_qserver.api.endpoint import Answer, Endpoint
from sanic_qserver.errors import ConfigError, NotFound
from sanic_qserver.scopes import Scope
from sanic_qserver.structs.requests import NoParams
from sanic_qserver.texts import Text

KINDS = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8",
         ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".png": "image/png"}  # fmt: skip
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"  # Nothing may turn text into markup.
)
SECURE = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # Ask each time; 304 while nothing changed.
}


class GetPage(NoParams, frozen=True, kw_only=True):
    """Get a file of a module's page."""


def read_files(folder: Path | Traversable) -> Mapping[str, bytes]:
    """The files of a folder that a page may consist of, by name."""
    return {
        entry.name: entry.read_bytes()
        for entry in folder.iterdir()
        if entry.is_file() and entry.name[entry.name.rfind(".") :] in KINDS
    }


def kind_of(name: str) -> str:
    """The content type of a file."""
    return KINDS[name[name.rindex(".") :]]


def build_row(path: str, scope: Scope, folder: Path | Traversable) -> Endpoint:
    """The row that serves a folder, read once. Raises ConfigError when it is no page."""
    if not path.isascii() or not path.replace("-", "").replace("_", "").isalnum():
        raise ConfigError(f"{path}: the path of a page is one word of letters, digits, - and _")
    try:
        files = read_files(folder)
    except OSError as error:
        raise ConfigError(f"Page {path}: its files cannot be read: {error}") from None
    if "index.html" not in files:
        raise ConfigError(f"Page {path}: there is no index.html in {folder}")

    async def serve(call: Call) -> Answer:
        name = call.path_args["name"]
        if name not in files:
            raise NotFound(f"{Text.NOT_FOUND}: there is nothing at this path")
        return Answer(files[name], content_type=kind_of(name), headers=SECURE)

    return Endpoint("GET", f"/pages/{path}/<name:str>", scope, "", GetPage, serve=serve, at_root=False)
