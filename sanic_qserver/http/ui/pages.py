"""`/ui` and the files under `/ui/static`: read once, sent with an ETag, nothing loaded from elsewhere.

Addresses are relative throughout, so the page works under any path prefix. It holds no data: who may see and do what is
decided by the calls that it makes.
"""

import hashlib
import html
from collections.abc import Sequence
from importlib.resources import files

from sanic import HTTPResponse, Request

from sanic_qserver.errors import NotFound
from sanic_qserver.extension_api.contribution import PageLink
from sanic_qserver.extension_api.page_files import SECURE, kind_of, read_files
from sanic_qserver.http.application import App
from sanic_qserver.http.errors import respond
from sanic_qserver.http.server.response import Reply
from sanic_qserver.texts import Text

PATH = "ui"


class Page:
    """A file as it is sent."""

    def __init__(self, name: str, body: bytes) -> None:
        self.body = body
        self.kind = kind_of(name)
        self.fields = {**SECURE, "ETag": f'"{hashlib.sha256(body).hexdigest()[:32]}"'}

    def answer(self, request: Request) -> HTTPResponse:
        """The file, or 304 for who has it."""
        is_known = self.fields["ETag"] in request.headers.get("if-none-match", "")
        return Reply(b"" if is_known else self.body, 304 if is_known else 200, self.fields, self.kind)


def load_pages(title: str, links: Sequence[PageLink] = ()) -> dict[str, Page]:
    """The files by name; `index.html` says the title of the instrument, and which pages modules have added.

    Its scripts are fetched all at once, not as each is found to import the next.
    """
    bodies = dict(read_files(files("sanic_qserver.http.ui") / "static"))
    metas = "\n".join(
        f'<meta name="qserver-page" content="{html.escape(link.path)}" data-title="{html.escape(link.title)}" '
        f'data-scope="{link.scope}">'
        for link in links
    )
    scripts = sorted(name for name in bodies if name.endswith(".js") and name != "wall.js")
    preloads = "\n".join(f'<link rel="modulepreload" href="{PATH}/static/{name}">' for name in scripts)
    index = bodies["index.html"].replace(b"{{pages}}", metas.encode()).replace(b"{{modules}}", preloads.encode())
    bodies["index.html"] = index.replace(b"{{title}}", html.escape(title).encode())
    return {name: Page(name, body) for name, body in bodies.items()}


def mount_ui(app: App, title: str, links: Sequence[PageLink]) -> None:
    """Add `/ui` and what it loads."""
    pages = load_pages(title, links)

    async def ui(request: Request) -> HTTPResponse:
        return pages["index.html"].answer(request)

    async def ui_slash(_: Request) -> HTTPResponse:
        return to_page(f"../{PATH}")

    async def ui_file(request: Request, name: str) -> HTTPResponse:
        if name not in pages or name == "index.html":
            return respond(NotFound(f"{Text.NOT_FOUND}: there is nothing at this path"), request)
        return pages[name].answer(request)

    ways = ["GET", "HEAD"]
    app.add_route(ui, f"/{PATH}", methods=ways, name="ui", strict_slashes=True, ignore_body=True)
    app.add_route(ui_slash, f"/{PATH}/", methods=ways, name="ui_slash", strict_slashes=True, ignore_body=True)
    app.add_route(ui_file, f"/{PATH}/static/<name:str>", methods=ways, name="ui_file", ignore_body=True)


def to_page(address: str) -> HTTPResponse:
    """Send a browser to the page, by a relative address where a proxy's path prefix may not be known."""
    return HTTPResponse(b"", 302, headers={**SECURE, "Location": address})
