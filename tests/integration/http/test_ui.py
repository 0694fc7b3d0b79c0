"""The operator's page as it is sent: relative, guarded by a policy, checked by ETag."""

import re
from importlib.resources import files

from sanic_qserver.extension_api.page_files import KINDS
from sanic_qserver.http.ui.pages import load_pages

STATIC = files("sanic_qserver.http.ui") / "static"
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


async def test_browsers_are_sent_to_the_page_by_a_relative_address_and_programs_get_ping(client):
    page = await client.get("/", headers=BROWSER)
    assert (page.status_code, page.headers["location"]) == (302, "ui")
    assert (await client.get("/ui/", headers=BROWSER)).headers["location"] == "../ui"
    ping = await client.get("/", headers={"Accept": "*/*"})
    assert ping.json()["msg"].startswith("RE Manager")


async def test_the_page_may_load_from_its_own_origin_only(client):
    page = await client.get("/ui")
    policy = page.headers["content-security-policy"]
    assert page.status_code == 200
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'")
    assert "unsafe" not in policy
    assert not re.search(r"https?://|\son\w+=|style=|<script>", page.text)
    assert not re.search(r'(src|href)="/', page.text), "behind a path prefix only relative addresses work"


async def test_every_file_is_sent_once_and_then_confirmed(client):
    for entry in STATIC.iterdir():
        if entry.name == "index.html" or entry.name[entry.name.rfind(".") :] not in KINDS:
            continue
        first = await client.get(f"/ui/static/{entry.name}")
        assert (first.status_code, first.content) == (200, entry.read_bytes())
        again = await client.get(f"/ui/static/{entry.name}", headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


async def test_nothing_beside_the_files_is_served(client):
    for name in ("index.html", "nothing.js", "..%2fpages.py", "%2e%2e%2fpages.py"):
        assert (await client.get(f"/ui/static/{name}")).status_code == 404


def test_the_title_of_the_instrument_is_text():
    assert b"<title>&lt;b&gt;XPD &amp; &quot;co&quot;</title>" in load_pages('<b>XPD & "co"')["index.html"].body


def test_every_script_of_the_page_is_fetched_at_once_and_not_as_each_is_found():
    pages = load_pages("")
    imported = {name for page in pages.values() for name in re.findall(rb'from "\./([\w.]+)"', page.body)}
    preloaded = re.findall(rb'"modulepreload" href="ui/static/([\w.]+)"', pages["index.html"].body)
    assert imported <= set(preloaded)
    assert all(name.decode() in pages for name in preloaded)


def test_the_page_weighs_less_than_200_kb():
    assert sum(len(page.body) for page in load_pages("").values()) < 200_000


def test_no_file_names_another_host_or_makes_markup_of_text():
    for entry in STATIC.iterdir():
        text = entry.read_text("utf-8").replace("http://www.w3.org/", "")
        assert not re.search(r"https?://[a-z]|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text), (
            entry
        )
