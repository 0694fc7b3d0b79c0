"""One browser and one server with logins for all tests of the operator's page."""

import contextlib

import pytest
from conftest import ROOT, app_of, needs
from logins import CHEAP, settings
from servers import Served

from sanic_qserver.config.settings import load

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip
EVE = "<i>eve</i><img src=x>"
PASSWORDS = {"alice": "wonderland-1", "olga": "observer-3", "pete": "proposer-5", EVE: "markup-7"}
POLICY = """
roles:
  proposer: {inherits: [observer], scopes_add: ["write:proposals"]}
  auditor: {inherits: [admin], scopes_add: ["admin:audit"]}
users:
  alice: {roles: [auditor, expert]}
  olga: {roles: observer}
  pete: {roles: proposer}
  a-program: {roles: observer}
  scan-agent: {roles: observer}
  "<i>eve</i><img src=x>": {roles: expert}
"""
# What the browser refuses is said as an error, and errors fail a test.
WATCH = """
addEventListener("securitypolicyviolation", event =>
  console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
"""


class Site:
    """A server, a browser, and people who are logged in."""

    def __init__(self, served, browser):
        self.served, self.browser = served, browser
        self.problems, self.pages, self.contexts, self.people = [], [], [], {}

    def log_in(self, context, name):
        form = {"username": name, "password": PASSWORDS[name], "cookie": "true"}
        url = f"{self.served.url}/api/auth/provider/toy/token"
        assert context.request.post(url, form=form, headers={"Origin": self.served.url}).ok

    def context(self, name=None, **options):
        """A browser's profile of its own, for one test."""
        context = self.browser.new_context(**{"viewport": {"width": 1440, "height": 1000}, **options})
        context.add_init_script(WATCH)
        self.contexts.append(context)
        if name:
            self.log_in(context, name)
        return context

    def person(self, name):
        """The profile of somebody who stays logged in for all tests."""
        if name not in self.people:
            self.people[name] = self.context(name, permissions=["clipboard-read", "clipboard-write"])
            self.contexts.pop()
        return self.people[name]

    def page(self, name=None, context=None, url=None):
        """A page of somebody who is logged in, or of nobody."""
        context = context or (self.person(name) if name else self.context())
        page = context.new_page()
        self.pages.append(page)
        page.set_default_timeout(20_000)
        self.watch(page, url or self.served.url)
        return page

    def watch(self, page, url):
        """Collect what must not happen: errors, reports of the policy, requests to elsewhere."""
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda said: self.problems.append(said.text) if said.type in ("error", "warning") else None)
        page.on(
            "request",
            lambda sent: None if sent.url.startswith((url, "data:", "blob:")) else self.problems.append(sent.url),
        )

    def open(self, name, path="/ui", context=None):
        """The page of somebody, live."""
        page = self.page(name, context)
        page.goto(self.served.url + path)
        page.get_by_text("Live", exact=True).wait_for()
        return page

    def ask(self, verb, path, **body):
        """RE Manager by another way than the page: as alice, with a token."""
        answer = self.served.client.request(verb, f"/api/{path}", json=body, headers=self.token)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def queue(self):
        """The items that RE Manager has."""
        return self.ask("GET", "queue/get")["items"]

    def until(self, condition):
        """Wait until the status is so."""
        assert self.ask("GET", f"status?wait_for={condition}&timeout=60")

    def open_environment(self):
        """Open it, if it is not."""
        if not self.ask("GET", "status")["worker_environment_exists"]:
            assert self.ask("POST", "environment/open")["success"]
        self.until("idle")

    def run_script(self, script):
        """Run it in the worker, to its end."""
        self.open_environment()
        task = self.ask("POST", "script/upload", script=script)["task_uid"]
        while (reply := self.ask("GET", f"task/result?task_uid={task}"))["status"] != "completed":
            self.until("idle")
        assert reply["result"]["success"], reply
        self.until("idle")


@pytest.fixture(scope="package")
def whole_site(instrument, tmp_path_factory):
    needs(CHROMIUM)
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=20_000)  # Other tests keep the machine busy.

    toy = {"kind": "dictionary", "name": "toy", "users": {name: CHEAP.hash(word) for name, word in PASSWORDS.items()}}
    folder = tmp_path_factory.mktemp("ui")
    sections = settings(folder, toy, policy=POLICY)
    sections["audit"] = {"database": f"sqlite:///{folder}/audit.sqlite"}
    sections["server"] = {"title": "Test & <b>beamline</b>"}
    sections["idempotency"] = {"store": "memory"}
    sections["extensions"] = {"modules": ["day_report"], "paths": [str(ROOT / "plugins")], "required": True}
    (folder / "config.toml").touch()  # Its folder holds the proposals.
    served = Served(app_of(load(folder / "config.toml", environment=instrument.environment, overrides=sections)))
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
        for path in ("queue/clear", "history/clear"):
            site.ask("POST", path)
        site.ask("POST", "permissions/reload", restore_plans_devices=True)  # Scripts have added plans.
        browser.close()
    served.close()


@pytest.fixture
def site(whole_site):
    """The site with an empty queue; afterwards nothing may have gone wrong in any page."""
    whole_site.ask("POST", "queue/clear")
    yield whole_site
    for opened in (*whole_site.pages, *whole_site.contexts):
        with contextlib.suppress(Exception):
            opened.close()
    problems = whole_site.problems[:]
    for kept in (whole_site.pages, whole_site.contexts, whole_site.problems):
        kept.clear()
    assert problems == []
