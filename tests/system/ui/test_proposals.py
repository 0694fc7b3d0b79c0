"""Proposals: two people, what one asks for and the other decides."""

import pytest
from operator_page import button, fill_form, region
from playwright.sync_api import expect

pytestmark = pytest.mark.slow


def test_a_proposal_is_commented_changed_denied_withdrawn_and_approved(site):
    pete, alice = site.open("pete"), site.open("alice")
    of_pete, of_alice = (region(page, "Proposals").get_by_role("article") for page in (pete, alice))
    fill_form(pete, "count", detectors="det2", num="3")
    button(pete, "Propose").click()
    expect(of_alice.filter(has_text="pete")).to_contain_text("det2")
    expect(region(alice, "Proposals")).to_contain_text("1 waiting")

    button(of_alice, "Comment").click()
    alice.get_by_role("dialog").get_by_role("textbox", name="Comment").fill("please fewer <b>points</b>")
    alice.get_by_role("dialog").get_by_role("button", name="Comment").click()
    (made,) = site.ask("GET", "proposals?state=open")["proposals"]
    item = {**made["items"][0], "kwargs": {"detectors": ["det2"], "num": 2}}
    changed = pete.context.request.patch(
        f"{site.served.url}/api/proposals/{made['id']}",
        data={"items": [item]},
        headers={"Origin": site.served.url, "X-CSRF": csrf(pete), "If-Match": '"1"'},
    )
    assert changed.ok, changed.text()
    expect(of_alice).to_contain_text("version 2")
    button(of_alice, "Details").click()
    dialog = alice.get_by_role("dialog")
    expect(dialog).to_contain_text("please fewer <b>points</b>")
    expect(dialog.locator(".minus").filter(has_text='"num": 3')).to_be_visible()
    expect(dialog.locator(".plus").filter(has_text='"num": 2')).to_be_visible()
    button(dialog, "Close").click()

    button(of_alice, "Deny").click()
    alice.get_by_role("dialog").get_by_role("textbox", name="Reason").fill("no beam today")
    alice.get_by_role("dialog").get_by_role("button", name="Deny").click()
    expect(of_pete).to_have_count(0)
    region(pete, "Proposals").get_by_role("checkbox").check()
    expect(of_pete.filter(has_text="denied")).to_contain_text("no beam today")

    button(pete, "Propose").click()
    button(of_pete.filter(has_text="open"), "Withdraw").click()
    expect(of_pete.filter(has_text="withdrawn")).to_be_visible()
    expect(of_alice).to_have_count(0)
    assert site.queue() == []

    button(pete, "Propose").click()
    button(of_alice, "Approve").click()
    expect(region(pete, "Queue").get_by_role("row").filter(has_text="det2")).to_be_visible()
    (item,) = site.queue()
    assert item["user"] == "pete"


def csrf(page):
    """What the page sends with what changes something."""
    return next(one["value"] for one in page.context.cookies() if one["name"] == "sanic_qserver_csrf")
