"""The operator's page below a path prefix that nobody takes away, with cookies that are the prefix's own."""

from conftest import app_of
from logins import settings
from operator_page import button
from playwright.sync_api import expect
from servers import Served

from sanic_qserver.config.settings import load

PREFIX = "/beamline/qs"


def test_a_person_logs_in_changes_something_and_logs_out_below_a_prefix(site, instrument, tmp_path):
    sections = {**settings(tmp_path), "server": {"root_path": PREFIX}, "idempotency": {"store": "memory"}}
    served = Served(app_of(load(environment=instrument.environment, overrides=sections)))
    try:
        context = site.context()
        page = context.new_page()
        site.watch(page, served.url + PREFIX)
        page.goto(served.url + PREFIX)
        assert page.url == f"{served.url}{PREFIX}/ui"
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("textbox", name="Username").fill("alice")
        dialog.get_by_role("textbox", name="Password").fill("wonderland-1")
        dialog.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("banner")).to_contain_text("alice")
        page.get_by_text("Live", exact=True).wait_for()
        assert {cookie["path"] for cookie in context.cookies()} == {PREFIX}
        button(page, "Log out").click()  # It needs the CSRF cookie, which the page reads.
        expect(page.get_by_role("dialog").get_by_role("textbox", name="Username")).to_be_visible()
        assert context.cookies() == []
    finally:
        served.close()
