"""One browser and one server with logins for each module of tests of the operator's page."""

import contextlib

import pytest
from conftest import app_of, needs
from logins import CHEAP, settings
from servers import Served

from sanic_qserver.config.settings import load

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip
PASSWORDS = {"alice": "wonderland-1", "olga": "observer-3", "pete": "proposer-5"}
POLICY = """
roles:
  proposer: {inherits: [observer], scopes_add: ["write:proposals"]}
users:
  alice: {roles: [admin, expert]}
  olga: {roles: observer}
  pete: {roles: proposer}
"""


class Site:
    """A server, a browser, and people who are logged in."""

    def __init__(self, served, browser):
        self.served, self.browser = served, browser
        self.problems, self.contexts = [], []

    def page(self, name=None, **options):
        """A page of somebody who is logged in, or of nobody."""
        context = self.browser.new_context(**{"viewport": {"width": 1440, "height": 1000}, **options})
        self.contexts.append(context)
        if name:
            form = {"username": name, "password": PASSWORDS[name], "cookie": "true"}
            url = f"{self.served.url}/api/auth/provider/toy/token"
            assert context.request.post(url, form=form, headers={"Origin": self.served.url}).ok
        page = context.new_page()
        page.set_default_timeout(20_000)
        self.watch(page, self.served.url)
        return page

    def watch(self, page, url):
        """Collect what must not happen: errors, reports of the policy, requests to elsewhere."""
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda said: self.problems.append(said.text) if said.type in ("error", "warning") else None)
        page.on(
            "request",
            lambda sent: None if sent.url.startswith((url, "data:", "blob:")) else self.problems.append(sent.url),
        )

    def open(self, name, path="/ui", **options):
        """The page of somebody, live."""
        page = self.page(name, **options)
        page.goto(self.served.url + path)
        page.get_by_text("Live", exact=True).wait_for()
        return page

    def ask(self, verb, path, **body):
        """RE Manager by another way than the page: as alice, with a token."""
        answer = self.served.client.request(verb, f"/api/{path}", json=body, headers=self.token)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def queue(self):
        """The items that RE Manager has."""
        return self.ask("GET", "queue/get")["items"]


@pytest.fixture(scope="module")
def whole_site(instrument, tmp_path_factory):
    needs(CHROMIUM)
    from playwright.sync_api import sync_playwright

    toy = {"kind": "dictionary", "name": "toy", "users": {name: CHEAP.hash(word) for name, word in PASSWORDS.items()}}
    sections = settings(tmp_path_factory.mktemp("ui"), toy, policy=POLICY)
    sections["server"] = {"title": "Test & <b>beamline</b>"}
    sections["idempotency"] = {"store": "memory"}
    served = Served(app_of(load(environment=instrument.environment, overrides=sections)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        site = Site(served, browser)
        form = {"username": "alice", "password": PASSWORDS["alice"]}
        token = served.client.post("/api/auth/provider/toy/token", data=form).json()["access_token"]
        site.token = {"Authorization": f"Bearer {token}"}
        yield site
        if site.ask("GET", "status")["worker_environment_exists"]:
            site.ask("POST", "environment/destroy")
            site.ask("GET", "status?wait_for=environment_closed&timeout=20")
        site.ask("POST", "queue/clear")
        browser.close()
    served.close()


@pytest.fixture
def site(whole_site):
    """The site with an empty queue; afterwards nothing may have gone wrong in any page."""
    whole_site.ask("POST", "queue/clear")
    yield whole_site
    for context in whole_site.contexts:
        with contextlib.suppress(Exception):
            context.close()
    problems = whole_site.problems[:]
    whole_site.contexts.clear()
    whole_site.problems.clear()
    assert problems == []
