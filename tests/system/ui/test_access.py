"""Keys and sessions, one's own and those of others; and the ways in that lead elsewhere."""

import base64
import re

import httpx
import pytest
from conftest import app_of, needs
from logins import settings
from oidc import issuer, oidc  # noqa: F401  # a fixture
from operator_page import button, confirm, region
from playwright.sync_api import expect
from ports import free_port
from saml import LOGIN_PAGE, IdentityProvider, saml
from servers import Served

from sanic_qserver.config.settings import load

pytestmark = pytest.mark.slow


def status_of(site, secret):
    """What the server says to this key."""
    return httpx.get(f"{site.served.url}/api/status", headers={"Authorization": f"ApiKey {secret}"}).status_code


def make_key(page, place, **fields):
    """Make a key with the dialog, and give it."""
    button(place, "Make a key").click()
    dialog = page.get_by_role("dialog")
    for name, text in fields.items():
        dialog.get_by_label(name).fill(text)
    button(dialog, "Make a key").click()
    secret = page.get_by_role("dialog").filter(has_text="shown this once").locator("pre")
    expect(secret).to_be_visible()
    made = secret.inner_text()
    button(page.get_by_role("dialog"), "Close").click()
    return made


def test_a_person_makes_and_revokes_keys_and_ends_sessions_of_their_own(site):
    other = site.open("olga", context=site.context("olga"))
    page = site.open("olga", "/ui?view=access")
    access = region(page, "My access")
    secret = make_key(page, access, Note="for a script", Scopes="read:status")
    key = access.get_by_role("row").filter(has_text="for a script")
    expect(key).to_contain_text(secret[:8])
    expect(key).to_contain_text("read:status")
    assert status_of(site, secret) == 200
    button(key, "Revoke").click()
    expect(key).to_have_count(0)
    assert status_of(site, secret) == 401
    sessions = access.locator("tbody tr")
    expect(sessions).to_have_count(2)
    button(sessions.filter(has_not_text="this one"), "Revoke").click()
    expect(sessions).to_have_count(1)
    other.reload()
    expect(other.get_by_role("dialog").get_by_role("textbox", name="Username")).to_be_visible()
    assert [text for text in site.problems if "401" not in text] == []
    site.problems.clear()


def test_an_administrator_manages_programs_and_keys_and_sessions_of_others(site):
    pete = site.open("pete", context=site.context("pete"))
    page = site.open("alice", "/ui?view=admin")
    admin = region(page, "Admin")
    button(admin, "Add a program").click()
    page.get_by_role("dialog").get_by_label("Name").fill("scan-agent")
    button(page.get_by_role("dialog"), "Add a program").click()
    program = admin.locator("details").filter(has_text="scan-agent")
    expect(program).to_contain_text("service · observer · 0 keys, 0 sessions")
    secret = make_key(page, program, Note="of the agent")
    expect(program).to_contain_text("1 key, 0 sessions")
    assert status_of(site, secret) == 200
    confirm(page, "Revoke", saying=f"API key {secret[:8]} of service: scan-agent")
    expect(program).to_contain_text("0 keys, 0 sessions")
    assert status_of(site, secret) == 401

    admin.get_by_role("searchbox", name="Filter people and programs").fill("pete")
    person = admin.locator("details")
    expect(person).to_have_count(1)
    person.locator("summary").click()
    rows = person.locator("tbody tr")
    before = rows.count()
    for _ in range(before):
        left = rows.count()
        rows.first.get_by_role("button", name="Revoke").click()
        button(page.get_by_role("dialog"), "Revoke").click()
        expect(rows).to_have_count(left - 1)
    pete.reload()
    expect(pete.get_by_role("dialog").get_by_role("textbox", name="Username")).to_be_visible()

    admin.get_by_role("searchbox", name="User", exact=True).fill("alice")
    button(admin, "Load audit").click()
    expect(admin.get_by_role("row").filter(has_text=re.compile("session")).first).to_contain_text("alice")
    site.people.pop("pete", None)
    assert [text for text in site.problems if "401" not in text] == []
    site.problems.clear()


def test_an_observer_is_not_offered_what_administrators_do(site):
    page = site.open("olga")
    expect(page.get_by_role("link", name="My access")).to_be_visible()
    assert page.get_by_role("link", name="Admin").count() == 0


def has_come_in(page, served):
    """Jane is in, and where she wanted to go."""
    expect(page.get_by_role("banner")).to_contain_text("jane")
    assert page.url == f"{served.url}/ui?view=lists"
    expect(region(page, "Devices and plans")).to_be_visible()


def test_a_person_comes_in_by_the_link_to_a_provider(site, instrument, issuer, tmp_path):
    policy = "users:\n  jane: {roles: observer}\n"
    sections = settings(tmp_path, oidc(issuer, title="the facility"), policy=policy)
    served = Served(app_of(load(environment=instrument.environment, overrides=sections)))
    try:
        page = site.context().new_page()
        page.goto(f"{served.url}/ui?view=lists")
        page.get_by_role("link", name="Log in with the facility").click()
        page.locator("input[name=sub]").fill("jane")
        page.get_by_role("button", name="Authorize").click()
        has_come_in(page, served)
    finally:
        served.close()


def test_a_person_comes_in_by_the_link_to_a_saml_provider(site, instrument, tmp_path):
    needs("xmlsec1", "openssl")
    port = free_port()
    provider = IdentityProvider(tmp_path, f"http://127.0.0.1:{port}/api/auth/provider/campus/code")
    sections = settings(tmp_path, saml(provider, title="the campus"), policy="users:\n  jane: {roles: observer}\n")
    served = Served(app_of(load(environment=instrument.environment, overrides=sections)), port)

    def answer(route):
        """The provider's page: from another site, with a form."""
        request_id, state = provider.request(route.request.url)
        response = base64.b64encode(provider.answer(request_id).encode()).decode()
        fields = {"SAMLResponse": response, "RelayState": state}
        hidden = "".join(f'<input type=hidden name={name} value="{value}">' for name, value in fields.items())
        form = f'<form method=post action="{provider.here}">{hidden}<button>Log in</button></form>'
        route.fulfill(content_type="text/html", body=form)

    try:
        page = site.context().new_page()
        page.route(f"{LOGIN_PAGE}*", answer)
        page.goto(f"{served.url}/ui?view=lists")
        page.get_by_role("link", name="Log in with the campus").click()
        page.get_by_role("button", name="Log in").click()
        has_come_in(page, served)
    finally:
        served.close()
